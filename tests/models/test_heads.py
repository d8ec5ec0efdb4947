from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from twotower.losses import cumulative_cross_entropy
from twotower.models import Head, OrdinalHead, RegressionHead, build_head
from twotower.spec import HeadInput, OrdinalHeadSpec, RegressionHeadSpec

D = 3
LEVELS = (1.0, 2.0, 4.0)
SHARES = (0.5, 0.2, 0.3)


def regression(**changes: Any) -> RegressionHead:
    values = {"name": "rating", "mean": 3.0, "scale": 2.0, "low": 1.0, "high": 5.0, **changes}
    head = build_head(RegressionHeadSpec(**values), D, generator=torch.Generator().manual_seed(1))
    assert isinstance(head, RegressionHead)
    return head


def ordinal(**changes: Any) -> OrdinalHead:
    values = {"name": "rating", "levels": LEVELS, "shares": SHARES, **changes}
    head = build_head(OrdinalHeadSpec(**values), D, generator=torch.Generator().manual_seed(1))
    assert isinstance(head, OrdinalHead)
    return head


def vectors(seed: int, rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [regression, ordinal])
def test_a_head_reads_what_its_inputs_name(make: Any) -> None:
    queries, candidates = vectors(0), vectors(1)
    parts: dict[str, torch.Tensor] = {"query": queries, "candidate": candidates, "product": queries * candidates}
    names: tuple[HeadInput, ...] = ("query", "candidate", "product")
    for size in (1, 2, 3):
        for inputs in itertools.permutations(names, size):
            head: Head = make(inputs=inputs)
            (linear,) = [part for part in head.modules() if isinstance(part, torch.nn.Linear)]
            expected = torch.cat([parts[name] for name in inputs], dim=1) @ linear.weight.T + linear.bias
            if isinstance(head, OrdinalHead):
                expected = expected - head.thresholds()
            torch.testing.assert_close(head(queries, candidates), expected)


def test_hidden_layers_and_their_activation() -> None:
    head = regression(layer_sizes=(5, 2), activation="tanh")
    first, second, last = [part for part in head.modules() if isinstance(part, torch.nn.Linear)]
    assert [part.out_features for part in (first, second, last)] == [5, 2, 1]
    queries, candidates = vectors(0), vectors(1)
    joined = torch.cat([queries, candidates, queries * candidates], dim=1)
    torch.testing.assert_close(head(queries, candidates), last(second(first(joined).tanh()).tanh()))


def test_a_regression_is_standardised_and_clipped() -> None:
    head = regression()
    assert head.predict(torch.tensor([[0.0], [0.5], [-0.75], [9.0], [-9.0]])).tolist() == [3.0, 4.0, 1.5, 5.0, 1.0]
    assert head.targets(torch.tensor([3.0, 4.0, 1.0])).tolist() == [0.0, 0.5, -1.0]
    # what it is trained towards is what it then predicts
    values = torch.tensor([1.0, 2.5, 5.0])
    assert head.predict(head.targets(values)[:, None]).tolist() == values.tolist()


def test_a_fresh_ordinal_head_starts_at_the_shares() -> None:
    head = ordinal()
    zero = -head.thresholds().detach()[None]
    above = zero.sigmoid().flatten().tolist()
    assert above == pytest.approx([0.5, 0.3], abs=1e-6)
    assert float(head.predict(zero)) == pytest.approx(1 * 0.5 + 2 * 0.2 + 4 * 0.3)


def test_thresholds_ascend_whatever_training_does() -> None:
    head = ordinal(levels=(1.0, 2.0, 3.0, 4.0), shares=(0.1, 0.2, 0.3, 0.4))
    for seed in range(5):
        with torch.no_grad():
            for parameter in (head.first, head.log_gaps):
                parameter.copy_(3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        assert bool((head.thresholds().diff() > 0).all())


def test_a_level_that_hardly_ever_occurs_has_a_loss() -> None:
    """One row in a hundred million: in float32 both of its thresholds would be the same number."""
    rare = 1e-8
    head = ordinal(levels=(1.0, 2.0, 4.0), shares=(0.9, rare, 0.1 - rare))
    assert bool((head.thresholds().diff() > 0).all())
    logits = (-head.thresholds().detach()[None]).requires_grad_()
    loss = cumulative_cross_entropy(logits, torch.tensor([1]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert bool(loss.isfinite())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_an_ordinal_prediction_is_the_expected_level() -> None:
    head = ordinal()
    logits = torch.tensor([[0.3, -1.0], [50.0, 50.0], [-50.0, -50.0]])
    expected = []
    for first, second in logits.sigmoid().tolist():
        probabilities = [1 - first, first - second, second]
        expected.append(sum(level * p for level, p in zip(LEVELS, probabilities, strict=True)))
    assert head.predict(logits).tolist() == pytest.approx(expected, abs=1e-6)


def test_levels_have_numbers() -> None:
    head = ordinal()
    assert head.targets(torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64)).tolist() == [2, 0, 1]
    for wrong in (3.0, 9.0, -1.0):
        with pytest.raises(ValueError, match=f"no level {wrong:g}"):
            head.targets(torch.tensor([wrong]))


def test_specs_are_checked() -> None:
    with pytest.raises(ValueError, match="each may be named once"):
        RegressionHeadSpec(name="r", mean=0, scale=1, low=0, high=1, inputs=("query", "query"))
    with pytest.raises(ValueError, match="distinct and ascend"):
        OrdinalHeadSpec(name="r", levels=(2.0, 1.0), shares=(0.5, 0.5))
    with pytest.raises(ValueError, match="one entry per level"):
        OrdinalHeadSpec(name="r", levels=(1.0, 2.0), shares=(0.5, 0.25, 0.25))
