"""Columns whose count is 0 hold no candidate: value and gradients are those without them, and theirs are exactly 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated
from torch import Tensor

from twotower.losses import GBCE, BilateralSoftmax, InBatchSoftmax, Reduction, RetrievalLoss, Temperature
from twotower.losses import device_tiles as device_tiles_module

B, C, P, D = 9, 6, 5, 3
CPU = torch.device("cpu")

Make = Callable[[Reduction], RetrievalLoss]


def softmax(**options: Any) -> Make:
    return lambda reduction: InBatchSoftmax(Temperature(0.5, learned=True), reduction=reduction, **options)


LOSSES: dict[str, Make] = {
    "plain": softmax(),
    "accidental hits": softmax(mask_accidental_hits=False),
    "log-Q": softmax(log_q=True),
    "corrected": softmax(log_q="corrected"),
    "hard": softmax(hard_negatives=2),
    "hard, log-Q, accidental hits": softmax(hard_negatives=4, log_q=True, mask_accidental_hits=False),
    "harder than there are": softmax(hard_negatives=100),
    "BSL": lambda reduction: BilateralSoftmax(0.5, positive_temperature=0.8, negative_weight=1.3, reduction=reduction),
    "BSL, log-Q": lambda reduction: BilateralSoftmax(0.5, log_q=True, reduction=reduction),
}


class Batch:
    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.queries = torch.randn(B, D, generator=generator, dtype=torch.float64)
        self.candidates = torch.randn(C, D, generator=generator, dtype=torch.float64)
        self.positives = torch.randint(0, C, (B,), generator=generator)
        self.counts = torch.randint(1, 4, (C,), generator=generator)
        self.log_q = torch.rand(C, generator=generator, dtype=torch.float64) - 3
        self.weights = torch.rand(B, generator=generator, dtype=torch.float64)
        self.users = torch.randint(5, 9, (B,), generator=generator)
        self.matrix = torch.rand(B, C, generator=generator) < 0.3
        self.matrix[2] = True
        self.columns_of_real = torch.arange(C)

    def padded(self) -> Batch:
        """With columns between its own, whose vectors and probabilities are large."""
        generator = torch.Generator().manual_seed(8)
        place_C = torch.randperm(C + P, generator=generator)[:C].sort().values
        wide = Batch()
        wide.candidates = torch.randn(C + P, D, generator=generator, dtype=torch.float64) * 1000
        wide.candidates[place_C] = self.candidates
        wide.counts = torch.zeros(C + P, dtype=torch.int64)
        wide.counts[place_C] = self.counts
        wide.log_q = torch.randn(C + P, generator=generator, dtype=torch.float64) * 100
        wide.log_q[place_C] = self.log_q
        wide.positives = place_C[self.positives]
        wide.matrix = torch.rand(B, C + P, generator=generator) < 0.5
        wide.matrix[:, place_C] = self.matrix
        wide.columns_of_real = place_C
        return wide

    def narrow(self) -> Batch:
        for name in ("queries", "candidates", "log_q", "weights"):
            setattr(self, name, getattr(self, name).float())
        return self

    def results(self, loss: RetrievalLoss, mask: str, device: torch.device = CPU, **options: Any) -> list[Tensor]:
        loss = loss.to(device, self.queries.dtype)
        queries, candidates = (vectors.to(device).requires_grad_() for vectors in (self.queries, self.candidates))
        rows, columns = self.matrix.nonzero().T
        if loss.needs_users:
            options["users_B"] = self.users.to(device)
        value = loss(
            queries,
            candidates,
            self.positives.to(device),
            counts_C=self.counts.to(device),
            log_q_C=self.log_q.to(device) if loss.uses_log_q else None,
            masked={"none": None, "matrix": self.matrix.to(device), "pairs": (rows.to(device), columns.to(device))}[mask],
            weights_B=self.weights.to(device),
            **options,
        )
        found = [value.detach(), *torch.autograd.grad(value.sum(), (queries, candidates, *loss.parameters()))]
        return [each.cpu() for each in found]


def assert_padded(found: list[Tensor], expected: list[Tensor], place_C: Tensor, tolerance: float) -> None:
    none = torch.ones(C + P, dtype=torch.bool)
    none[place_C] = False
    assert found[2][none].tolist() == [[0.0] * D] * P  # exactly
    found = [found[0], found[1], found[2][place_C], *found[3:]]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mask", ["none", "matrix", "pairs"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_columns_that_hold_no_candidate_are_as_if_they_were_not_there(
    name: str, reduction: Reduction, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch()
    wide = batch.padded()
    expected = batch.results(LOSSES[name](reduction), mask)
    assert_padded(wide.results(LOSSES[name](reduction), mask, padded=True), expected, wide.columns_of_real, 1e-11)
    for tile_bytes in (8 * (C + P) * 2, 2**27):
        monkeypatch.setattr(device_tiles_module, "_TILE_BYTES", tile_bytes)
        monkeypatch.setattr(device_tiles_module, "_LEAST_ROWS", 1)
        with emulated():
            there = wide.results(LOSSES[name](reduction), mask, DEVICE)
        assert_padded(there, expected, wide.columns_of_real, 1e-11)


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("name", LOSSES)
def test_also_for_the_kernel_of_the_cpu(name: str, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Batch().results(LOSSES[name]("mean"), "pairs")
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    wide = Batch().padded().narrow()
    found = wide.results(LOSSES[name]("mean"), "pairs", padded=True)
    assert_padded([each.double() for each in found], expected, wide.columns_of_real, 1e-5)


def test_counts_of_0_are_a_mistake_unless_they_were_announced() -> None:
    wide = Batch().padded()
    for name, make in LOSSES.items():
        with pytest.raises(ValueError, match="counts must be at least 1; came 0"):
            wide.results(make("mean"), "none")
        wide.counts[0] = -1
        with pytest.raises(ValueError, match="counts must be at least 0; came -1"):
            wide.results(make("mean"), "none", padded=True)
        wide.counts[0] = 0
        assert name


def test_of_gbce_a_count_of_0_always_was_no_negative() -> None:
    batch = Batch()
    wide = batch.padded()
    expected = batch.results(GBCE(sampling_rate=0.5), "matrix")
    assert_padded(wide.results(GBCE(sampling_rate=0.5), "matrix"), expected, wide.columns_of_real, 1e-11)


def test_a_batch_of_nothing_but_one_candidate_and_padding_loses_nothing() -> None:
    for device in (CPU, DEVICE):
        with emulated():
            queries, candidates = torch.ones(2, D), torch.full((4, D), 50.0)
            for make in LOSSES.values():
                loss = make("sum").to(device)
                value = loss(
                    queries.to(device),
                    candidates.to(device),
                    torch.tensor([1, 1]).to(device),
                    counts_C=torch.tensor([0, 1, 0, 0]).to(device),
                    log_q_C=torch.full((4,), -1.0).to(device) if loss.uses_log_q else None,
                    padded=True,
                    **({"users_B": torch.tensor([0, 1]).to(device)} if loss.needs_users else {}),
                )
                assert float(value.detach().cpu()) == pytest.approx(0, abs=1e-6)
