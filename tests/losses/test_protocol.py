"""What holds for every retrieval loss: one suite, run on each of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twotower.losses import FullSoftmax, InBatchSoftmax, RetrievalLoss, Temperature

LOSSES = {
    "in batch": InBatchSoftmax,
    "full": FullSoftmax,
}
B, C, D = 5, 6, 2
POSITIVES = [0, 3, 3, 5, 1]


@pytest.fixture(params=sorted(LOSSES))
def make(request: pytest.FixtureRequest) -> Any:
    return LOSSES[request.param]


def vectors(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(B, D, generator=generator, dtype=torch.float64).requires_grad_()
    candidates = torch.randn(C, D, generator=generator, dtype=torch.float64).requires_grad_()
    return queries, candidates, torch.tensor(POSITIVES)


def mask_of(*pairs: tuple[int, int]) -> Tensor:
    mask = torch.zeros(B, C, dtype=torch.bool)
    for row, column in pairs:
        mask[row, column] = True
    return mask


def test_is_a_retrieval_loss(make: Any) -> None:
    loss = make()
    assert isinstance(loss, nn.Module)
    assert isinstance(loss, RetrievalLoss)


def test_the_protocol_asks_for_the_attributes() -> None:
    assert not isinstance(nn.Linear(1, 1), RetrievalLoss)


@pytest.mark.parametrize("options", [{}, {"hard_negatives": 2}, {"reduction": "sum"}, {"reduction": "none"}])
def test_gradients_are_those_of_finite_differences(make: Any, options: dict[str, Any]) -> None:
    queries, candidates, positives = vectors()
    loss = make(Temperature(0.5, learned=True), **options).double()
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0], dtype=torch.float64)

    def function(q: Tensor, c: Tensor, log_excess: Tensor) -> Any:
        with_mask = {"masked": mask_of((0, 1), (3, 2)), "weights_B": weights}
        return torch.func.functional_call(loss, {"temperature.log_excess": log_excess}, (q, c, positives), with_mask)

    assert torch.autograd.gradcheck(function, (queries, candidates, loss.temperature.log_excess))


@pytest.mark.parametrize("hard", [None, 2])
def test_the_order_of_candidates_does_not_matter(make: Any, hard: int | None) -> None:
    queries, candidates, positives = vectors()
    order = torch.tensor([4, 0, 5, 2, 1, 3])  # candidate in each new column
    new_column = torch.argsort(order)
    loss = make(0.5, hard_negatives=hard)
    mask = mask_of((0, 1), (3, 2))
    moved = loss(queries, candidates[order], new_column[positives], masked=mask[:, order])
    assert moved.item() == pytest.approx(loss(queries, candidates, positives, masked=mask).item(), rel=1e-12)


@pytest.mark.parametrize("hard", [None, 3])
@pytest.mark.parametrize("dense", [True, False])
def test_a_masked_candidate_has_no_probability_and_no_gradient(make: Any, dense: bool, hard: int | None) -> None:
    queries, candidates, positives = vectors()
    column = 2  # nobody's positive
    mask = mask_of(*((row, column) for row in range(B)))
    masked = mask if dense else (torch.arange(B), torch.full((B,), column))
    loss = make(hard_negatives=hard, reduction="none")
    masked_losses = loss(queries, candidates, positives, masked=masked)
    (gradient,) = torch.autograd.grad(masked_losses.sum(), candidates)
    assert gradient[column].tolist() == [0.0, 0.0]
    assert (gradient[positives] != 0).all()
    rest = [index for index in range(C) if index != column]
    without = loss(queries, candidates[rest], torch.tensor([rest.index(own) for own in POSITIVES]))
    # exactly: a masked candidate adds 0 to the sum, not a very small number
    huge = candidates.detach().clone()
    huge[column] = 1e6
    assert loss(queries, huge, positives, masked=masked).tolist() == masked_losses.tolist()
    torch.testing.assert_close(masked_losses, without, rtol=1e-12, atol=0)


def test_the_own_positive_is_never_masked(make: Any) -> None:
    queries, candidates, positives = vectors()
    loss = make()
    plain = loss(queries, candidates, positives).item()
    own = mask_of(*enumerate(POSITIVES))
    assert loss(queries, candidates, positives, masked=own).item() == plain
    assert loss(queries, candidates, positives, masked=(torch.arange(B), positives)).item() == plain


def test_with_everything_masked_the_loss_is_zero(make: Any) -> None:
    queries, candidates, positives = vectors()
    for hard in (None, 2):
        loss = make(hard_negatives=hard)(queries, candidates, positives, masked=torch.ones(B, C, dtype=torch.bool))
        assert loss.item() == 0
        gradients = torch.autograd.grad(loss, [queries, candidates])
        assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_a_weight_of_zero_drops_the_query(make: Any) -> None:
    queries, candidates, positives = vectors()
    keep = torch.tensor([0, 2, 4])
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    loss = make()
    value = loss(queries, candidates, positives, weights_B=weights)
    # in-batch counts are the caller's, so dropping rows leaves the candidates as they are
    assert value.item() == pytest.approx(loss(queries[keep], candidates, positives[keep]).item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, queries)
    assert gradient[[1, 3]].abs().sum().item() == 0


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"hard_negatives": 2}, {"reduction": "sum"}, {"reduction": "none"}])
def test_every_option_of_the_module_changes_the_result(make: Any, change: dict[str, Any]) -> None:
    queries, candidates, positives = vectors()
    plain, changed = make()(queries, candidates, positives), make(**change)(queries, candidates, positives)
    assert changed.shape != plain.shape or not torch.allclose(changed, plain, rtol=1e-3)


@pytest.mark.parametrize("argument", ["masked", "weights_B"])
def test_every_argument_changes_the_result(make: Any, argument: str) -> None:
    queries, candidates, positives = vectors()
    value = mask_of((0, 1), (3, 2)) if argument == "masked" else torch.arange(B, dtype=torch.float64)
    plain = make()(queries, candidates, positives)
    assert make()(queries, candidates, positives, **{argument: value}).item() != pytest.approx(plain.item(), rel=1e-3)


def test_extreme_logits_stay_finite(make: Any) -> None:
    for sign in (1, -1):
        queries = torch.full((2, 1), 1e4).requires_grad_()
        candidates = torch.tensor([[1.0], [-1.0], [0.5]]) * sign
        for hard in (None, 1):
            loss = make(hard_negatives=hard)(queries, candidates, torch.tensor([0, 1]))
            # one of the two queries has its positive 20,000 below the best
            assert loss.item() == pytest.approx(10_000, rel=1e-6)
            (gradient,) = torch.autograd.grad(loss, queries)
            assert torch.isfinite(gradient).all()


def test_no_negatives_is_a_loss_of_zero(make: Any) -> None:
    queries = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for hard in (None, 1):
        loss = make(hard_negatives=hard)(queries, torch.ones(1, 2), torch.zeros(3, dtype=torch.int64))
        assert loss.item() == 0
        assert torch.autograd.grad(loss, queries)[0].abs().sum().item() == 0


def test_a_batch_of_one(make: Any) -> None:
    loss = make(0.5)(torch.tensor([[1.0]]), torch.tensor([[1.0], [0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)


def test_an_empty_batch(make: Any) -> None:
    queries, candidates, positives = torch.zeros(0, 2), torch.ones(3, 2), torch.zeros(0, dtype=torch.int64)
    for hard in (None, 2):
        assert make(reduction="sum", hard_negatives=hard)(queries, candidates, positives).item() == 0
        assert make(reduction="none", hard_negatives=hard)(queries, candidates, positives).shape == (0,)
        with pytest.raises(ValueError, match=r"at least one query"):
            make(hard_negatives=hard)(queries, candidates, positives)


def test_float32_vectors_give_a_float32_loss(make: Any) -> None:
    queries, candidates, positives = vectors()
    assert make()(queries.float(), candidates.float(), positives).dtype == torch.float32
    assert make()(queries, candidates, positives).dtype == torch.float64
