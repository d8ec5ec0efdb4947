"""Losses and their gradients on a GPU against the same written out, or on the CPU, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_device import CUDA, ON_CUDA
from torch import Tensor
from torch.nn import functional

from twotower.losses import GBCE, BilateralSoftmax, FullSoftmax, InBatchSoftmax, RetrievalLoss, in_batch_softmax

pytestmark = ON_CUDA

SIZES = [(300, 170, 33), (2500, 2100, 64)]
TEMPERATURE = 0.2
OPTIONS: list[set[str]] = [
    set(),
    {"log_q_C"},
    {"counts_C"},
    {"weights_B"},
    {"masked"},
    {"pairs"},
    {"log_q_C", "counts_C", "weights_B", "masked"},
    {"log_q_C", "counts_C", "weights_B", "pairs"},
]


class Batch:
    """Vectors, the columns of the positives, and what a loss may be given besides; float64 on the CPU."""

    def __init__(self, num_queries: int, num_candidates: int, dim: int) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()

        self.queries_BD = functional.normalize(normal(num_queries, dim)).float().double()
        self.candidates_CD = functional.normalize(normal(num_candidates, dim)).float().double()
        self.positives_B = torch.randint(0, num_candidates, (num_queries,), generator=generator)
        self.counts_C = torch.bincount(self.positives_B, minlength=num_candidates).clamp(min=1).double()
        self.log_q_C = (self.counts_C / self.counts_C.sum()).log().float().double()
        self.weights_B = torch.rand(num_queries, generator=generator).double()
        self.masked = torch.rand(num_queries, num_candidates, generator=generator) < 0.1

    def given(self, names: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {name: getattr(self, name) for name in names - {"pairs"}}
        if "pairs" in names:
            found["masked"] = tuple(self.masked.nonzero().T)
        return found


def on(device: torch.device, value: Any) -> Any:
    """The same there, floats as float32."""
    if isinstance(value, tuple):
        return tuple(on(device, each) for each in value)
    return value.to(device, torch.float32 if value.is_floating_point() else value.dtype)


def with_gradients(loss: Callable[[Tensor, Tensor], Tensor], queries_BD: Tensor, candidates_CD: Tensor) -> list[Tensor]:
    """The value, and the gradients of both sides."""
    own = [each.detach().clone().requires_grad_() for each in (queries_BD, candidates_CD)]
    value = loss(*own)
    value.backward()  # type: ignore[no-untyped-call]
    return [value.detach(), *(each.grad for each in own if each.grad is not None)]


def assert_near(found: list[Tensor], expected: list[Tensor], share: float) -> None:
    """Each within a share of the largest number of its own."""
    for one, other in zip(found, expected, strict=True):
        assert one.device.type == CUDA.type
        torch.testing.assert_close(one.cpu().double(), other.double(), rtol=0, atol=share * float(other.abs().max()))


def written_out(batch: Batch, names: set[str]) -> Callable[[Tensor, Tensor], Tensor]:
    rows = torch.arange(len(batch.positives_B))
    own_BC = torch.zeros_like(batch.masked)
    own_BC[rows, batch.positives_B] = True

    def loss(queries_BD: Tensor, candidates_CD: Tensor) -> Tensor:
        logits_BC = queries_BD @ candidates_CD.T / TEMPERATURE
        if "log_q_C" in names:
            logits_BC = logits_BC - batch.log_q_C
        if "counts_C" in names:  # of what a query is looking for there is one
            logits_BC = logits_BC + batch.counts_C.log().expand_as(logits_BC).masked_fill(own_BC, 0.0)
        if names & {"masked", "pairs"}:
            logits_BC = logits_BC.masked_fill(batch.masked & ~own_BC, -torch.inf)
        losses_B = functional.cross_entropy(logits_BC, batch.positives_B, reduction="none")
        weights_B = batch.weights_B if "weights_B" in names else torch.ones_like(losses_B)
        return (losses_B * weights_B).sum() / weights_B.sum()

    return loss


@pytest.mark.parametrize("names", OPTIONS, ids=lambda names: " ".join(sorted(names)) or "plain")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_softmax_is_the_one_that_is_written_out(size: tuple[int, int, int], names: set[str]) -> None:
    batch = Batch(*size)
    expected = with_gradients(written_out(batch, names), batch.queries_BD, batch.candidates_CD)
    given = {name: on(CUDA, value) for name, value in batch.given(names).items()}
    positives_B = batch.positives_B.to(CUDA)
    vectors = on(CUDA, batch.queries_BD), on(CUDA, batch.candidates_CD)
    for precision, share in (("float32", 1e-4), ("bfloat16", 0.03)):

        def loss(queries_BD: Tensor, candidates_CD: Tensor, precision: Any = precision) -> Tensor:
            return in_batch_softmax(
                queries_BD, candidates_CD, positives_B, temperature=TEMPERATURE, precision=precision, **given
            )

        assert_near(with_gradients(loss, *vectors), expected, share)


LOSSES: dict[str, tuple[Callable[[], RetrievalLoss], set[str]]] = {
    "in batch": (lambda: InBatchSoftmax(TEMPERATURE, log_q=True), {"log_q_C", "counts_C", "weights_B", "pairs"}),
    "corrected": (lambda: InBatchSoftmax(TEMPERATURE, log_q="corrected"), {"log_q_C", "counts_C", "weights_B"}),
    "with hard negatives": (lambda: InBatchSoftmax(TEMPERATURE, hard_negatives=20), {"counts_C", "weights_B"}),
    "full": (lambda: FullSoftmax(TEMPERATURE), {"weights_B", "pairs"}),
    "bilateral": (lambda: BilateralSoftmax(TEMPERATURE, log_q=True), {"log_q_C", "counts_C", "weights_B", "users_B"}),
    "gBCE": (lambda: GBCE(TEMPERATURE, sampling_rate=0.1), {"counts_C", "weights_B"}),
    "gBCE of all": (lambda: GBCE(TEMPERATURE), {"weights_B", "pairs"}),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_loss_is_that_of_the_cpu(name: str, size: tuple[int, int, int]) -> None:
    make, names = LOSSES[name]
    batch, found = Batch(*size), []
    for device, dtype in ((torch.device("cpu"), torch.float64), (CUDA, torch.float32)):
        loss = make().to(device)

        def there(value: Any, device: torch.device = device, dtype: torch.dtype = dtype) -> Any:
            if isinstance(value, tuple):
                return tuple(each.to(device) for each in value)
            return value.to(device, dtype if value.is_floating_point() else value.dtype)

        given = {key: there(value) for key, value in batch.given(names - {"users_B"}).items()}
        if loss.needs_users:
            given["users_B"] = torch.arange(size[0], device=device) // 3
        positives_B = batch.positives_B.to(device)
        value = with_gradients(
            lambda queries_BD, candidates_CD, loss=loss, positives_B=positives_B, given=given: loss(  # type: ignore[misc]
                queries_BD, candidates_CD, positives_B, **given
            ),
            there(batch.queries_BD),
            there(batch.candidates_CD),
        )
        found.append(value)
    assert_near(found[1], found[0], 1e-4)
