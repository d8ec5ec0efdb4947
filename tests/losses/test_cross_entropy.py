from __future__ import annotations

import math

import pytest
import torch

from twotower.losses import Reduction, reduce_losses, softmax_cross_entropy

LOGITS = [[0.5, -1.0, 2.0], [1.0, 1.5, -math.inf]]
POSITIVES = [2, 0]


def oracle(logits: list[list[float]], positives: list[int], counts: list[list[float]]) -> list[float]:
    losses = []
    for row, own, times in zip(logits, positives, counts, strict=True):
        total = sum(n * math.exp(logit) for logit, n in zip(row, times, strict=True))
        losses.append(math.log(total) - row[own])
    return losses


def test_value_without_counts() -> None:
    losses = softmax_cross_entropy(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(POSITIVES), reduction="none")
    assert losses.tolist() == pytest.approx(oracle(LOGITS, POSITIVES, [[1, 1, 1], [1, 1, 1]]), rel=1e-12)


def test_counts_of_candidates_and_counts_of_pairs() -> None:
    logits, positives = torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(POSITIVES)
    shared = [2.0, 1.0, 3.0]
    log_counts = torch.tensor(shared, dtype=torch.float64).log()
    losses = softmax_cross_entropy(logits, positives, log_counts=log_counts, reduction="none")
    assert losses.tolist() == pytest.approx(oracle(LOGITS, POSITIVES, [shared, shared]), rel=1e-12)
    each = [[2.0, 0.0, 1.0], [5.0, 4.0, 3.0]]
    log_counts = torch.tensor(each, dtype=torch.float64).log()
    losses = softmax_cross_entropy(logits, positives, log_counts=log_counts, reduction="none")
    assert losses.tolist() == pytest.approx(oracle(LOGITS, POSITIVES, each), rel=1e-12)


def test_masked_logits_have_a_gradient_of_exactly_zero() -> None:
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    loss = softmax_cross_entropy(logits, torch.tensor(POSITIVES), log_counts=torch.tensor([2.0, 1.0, 3.0]).log())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[1, 2].item() == 0
    assert torch.isfinite(gradient).all()


def test_logits_are_not_changed() -> None:
    logits = torch.tensor(LOGITS)
    softmax_cross_entropy(logits, torch.tensor(POSITIVES), log_counts=torch.ones(3))
    assert logits.tolist() == LOGITS


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 11 / 4), ("sum", 11.0), ("none", [2.0, 9.0, 0.0])])
def test_weighted_reductions(reduction: Reduction, expected: float | list[float]) -> None:
    got = reduce_losses(torch.tensor([2.0, 3.0, 5.0]), torch.tensor([1, 3, 0]), reduction)
    assert got.tolist() == expected


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 2.5), ("sum", 5.0), ("none", [2.0, 3.0])])
def test_reductions_without_weights(reduction: Reduction, expected: float | list[float]) -> None:
    assert reduce_losses(torch.tensor([2.0, 3.0]), None, reduction).tolist() == expected


def test_softmax_cross_entropy_passes_weights_and_reduction_on() -> None:
    logits, positives = torch.tensor(LOGITS), torch.tensor(POSITIVES)
    each = softmax_cross_entropy(logits, positives, reduction="none")
    mean = softmax_cross_entropy(logits, positives, weights_B=torch.tensor([3.0, 1.0]))
    assert mean.item() == pytest.approx((3 * each[0].item() + each[1].item()) / 4, rel=1e-6)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [math.nan, 1.0]])
def test_weights_must_add_up_to_something(weights: list[float]) -> None:
    losses = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"more than 0; came a total of (0.0|nan) over 2 queries"):
        reduce_losses(losses, torch.tensor(weights), "mean")
    if weights == [0.0, 0.0]:
        assert reduce_losses(losses, torch.tensor(weights), "sum").item() == 0


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'mean', 'sum' or 'none'; came 'avg'"):
        reduce_losses(torch.ones(1), None, "avg")  # type: ignore[arg-type]


def test_weights_do_not_change_the_dtype() -> None:
    loss = reduce_losses(torch.ones(2, dtype=torch.float32), torch.ones(2, dtype=torch.float64), "mean")
    assert loss.dtype == torch.float32
