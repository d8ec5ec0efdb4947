"""Every loss on a device of its own: it is that of the CPU, and one that says so is recorded once for all batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated
from torch import Tensor

from twotower.losses import (
    GBCE,
    BilateralSoftmax,
    FullSoftmax,
    InBatchSoftmax,
    Reduction,
    RetrievalLoss,
    Temperature,
    cumulative_cross_entropy,
    squared_error,
)
from twotower.losses import device_tiles as device_tiles_module

B, C, D = 9, 6, 3

Make = Callable[[Reduction, bool], RetrievalLoss]
LOSSES: dict[str, Make] = {
    "in-batch": lambda reduction, learned: InBatchSoftmax(Temperature(0.5, learned=learned), reduction=reduction),
    "in-batch, accidental hits": lambda reduction, learned: InBatchSoftmax(
        Temperature(0.5, learned=learned), reduction=reduction, mask_accidental_hits=False
    ),
    "in-batch, log-Q": lambda reduction, learned: InBatchSoftmax(
        Temperature(0.5, learned=learned), reduction=reduction, log_q=True
    ),
    "in-batch, corrected": lambda reduction, learned: InBatchSoftmax(
        Temperature(0.5, learned=learned), reduction=reduction, log_q="corrected"
    ),
    "in-batch, hard": lambda reduction, learned: InBatchSoftmax(
        Temperature(0.5, learned=learned), reduction=reduction, hard_negatives=3, log_q=True
    ),
    "in-batch, hard, accidental hits": lambda reduction, learned: InBatchSoftmax(
        Temperature(0.5, learned=learned), reduction=reduction, hard_negatives=2, mask_accidental_hits=False
    ),
    "full": lambda reduction, learned: FullSoftmax(Temperature(0.5, learned=learned), reduction=reduction),
    "full, hard": lambda reduction, learned: FullSoftmax(
        Temperature(0.5, learned=learned), reduction=reduction, hard_negatives=2
    ),
    "BSL": lambda reduction, _: BilateralSoftmax(0.5, positive_temperature=0.8, negative_weight=1.2, reduction=reduction),
    "BSL, log-Q": lambda reduction, _: BilateralSoftmax(0.5, log_q=True, reduction=reduction),
    "gBCE": lambda reduction, learned: GBCE(Temperature(0.5, learned=learned), reduction=reduction),
    "gBCE, drawn": lambda reduction, learned: GBCE(Temperature(0.5, learned=learned), sampling_rate=0.5, reduction=reduction),
}
MASKS = ["none", "matrix", "pairs"]


class Batch:
    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.queries = torch.randn(B, D, generator=generator, dtype=torch.float64)
        self.candidates = torch.randn(C, D, generator=generator, dtype=torch.float64)
        self.positives = torch.randint(0, C, (B,), generator=generator)
        self.counts = torch.randint(1, 4, (C,), generator=generator)
        self.log_q = torch.rand(C, generator=generator, dtype=torch.float64) - 3
        self.weights = torch.rand(B, generator=generator, dtype=torch.float64)
        self.weights[seed % B] = 0
        self.users = torch.randint(5, 9, (B,), generator=generator)
        self.matrix = torch.rand(B, C, generator=generator) < 0.3
        self.matrix[seed % B] = True
        self.rows, self.columns = (
            torch.randint(0, B, (15,), generator=generator),
            torch.randint(0, C, (15,), generator=generator),
        )
        self.rows[:C], self.columns[:C] = (
            (seed + 1) % B,
            torch.randperm(C, generator=generator),
        )  # nothing is left of this one's
        self.rows[-3:], self.columns[-3:] = self.rows[:3], self.columns[:3]

    def on(self, device: torch.device) -> Batch:
        there = Batch.__new__(Batch)
        for name, values in vars(self).items():
            setattr(there, name, values.to(device))
        for leaf in (there.queries, there.candidates):
            leaf.requires_grad_()
        return there

    def take(self, other: Batch) -> None:
        with torch.no_grad():
            for name, values in vars(other).items():
                getattr(self, name).copy_(values)

    def results(self, loss: RetrievalLoss, mask: str, **options: Any) -> list[Tensor]:
        if loss.needs_users:
            options["users_B"] = self.users
        if not loss.needs_full_catalogue:
            options["counts_C"] = self.counts - 1 if loss.uniform_negatives else self.counts
        value = loss(
            self.queries,
            self.candidates,
            self.positives,
            log_q_C=self.log_q if loss.uses_log_q else None,
            masked={"none": None, "matrix": self.matrix, "pairs": (self.rows, self.columns)}[mask],
            weights_B=self.weights,
            **options,
        )
        return [value.detach(), *torch.autograd.grad(value.sum(), (self.queries, self.candidates, *loss.parameters()))]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tile_bytes", [8 * C * 2, 2**27])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_there_it_is_what_it_is_here(
    name: str, reduction: Reduction, mask: str, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tiles_module, "_TILE_BYTES", tile_bytes)
    monkeypatch.setattr(device_tiles_module, "_LEAST_ROWS", 1)
    learned = mask != "none"
    batches = [Batch(seed) for seed in range(3)]
    here = LOSSES[name](reduction, learned).double()
    expected = [batch.on(torch.device("cpu")).results(here, mask) for batch in batches]
    with emulated() as emulation:
        loss = LOSSES[name](reduction, learned).double().to(DEVICE)
        there = batches[0].on(DEVICE)
        if not loss.recordable:
            waits = emulation.waits_of(lambda: assert_same(there.results(loss, mask), expected[0]))
            assert waits["aten::nonzero"] > 0
            assert waits["aten::_local_scalar_dense"] == 0
            return
        with emulation.record() as recording:  # which refuses whatever makes the host wait
            found = there.results(loss, mask)
        assert_same(found, expected[0])
        for batch, theirs in zip(batches[1:], expected[1:], strict=True):
            there.take(batch)
            recording.replay()
            assert_same(found, theirs)


def test_the_part_of_one_of_several_processes_is_recorded_too() -> None:
    def of_two(values: Tensor) -> Tensor:
        return torch.cat([values, values.detach().flip(0)])

    batches = [Batch(seed) for seed in range(2)]
    loss = BilateralSoftmax(0.5).double()
    expected = [batch.on(torch.device("cpu")).results(loss, "pairs", all_rows=of_two) for batch in batches]
    with emulated() as emulation:
        there = batches[0].on(DEVICE)
        loss = loss.to(DEVICE)
        with emulation.record() as recording:
            found = there.results(loss, "pairs", all_rows=of_two)
        assert_same(found, expected[0])
        there.take(batches[1])
        recording.replay()
        assert_same(found, expected[1])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_outcomes_are_recorded_too(reduction: Reduction) -> None:
    def given(seed: int, device: torch.device) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(B, 3, generator=generator, dtype=torch.float64) * 9
        inputs = [logits.sort(1, descending=True).values, torch.randint(0, 4, (B,), generator=generator)]
        return [each.to(device) for each in [*inputs, torch.rand(B, generator=generator, dtype=torch.float64)]]

    def losses(outputs: Tensor, levels: Tensor, weights: Tensor) -> list[Tensor]:
        outputs.requires_grad_()
        ordinal = cumulative_cross_entropy(outputs, levels, weights_B=weights, reduction=reduction)
        squared = squared_error(outputs[:, :1], levels.double(), weights_B=weights, reduction=reduction)
        return [ordinal.detach(), squared.detach(), *torch.autograd.grad((ordinal + squared).sum(), outputs)]

    expected = [losses(*given(seed, torch.device("cpu"))) for seed in range(2)]
    with emulated() as emulation:
        there = given(0, DEVICE)
        with emulation.record() as recording:
            found = losses(there[0], there[1], there[2])
        assert_same(found, expected[0])
        with torch.no_grad():
            for ours, other in zip(there, given(1, DEVICE), strict=True):
                ours.copy_(other)
        recording.replay()
        assert_same(found, expected[1])


def test_which_losses_can_be_recorded() -> None:
    assert {name for name, make in LOSSES.items() if not make("mean", True).recordable} == {"gBCE, drawn"}


@pytest.mark.parametrize("name", LOSSES)
def test_a_mean_over_no_weight_is_no_number_there_and_an_error_here(name: str) -> None:
    batch = Batch(0)
    batch.weights.zero_()
    with pytest.raises(ValueError, match="weights of a batch must add up"):
        batch.on(torch.device("cpu")).results(LOSSES[name]("mean", False).double(), "none")
    with emulated():
        assert bool(batch.on(DEVICE).results(LOSSES[name]("mean", False).double().to(DEVICE), "none")[0].cpu().isnan())
