"""The tiles of an accelerator against the loss written out, whatever the tile, and recorded once for all batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from emulated_device import DEVICE, Emulation, emulated
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from twotower.losses import softmax_cross_entropy
from twotower.losses.device_tiles import DeviceTiles
from twotower.losses.logits import Precision
from twotower.losses.masks import Mask
from twotower.losses.tiled import tiled_cross_entropy
from twotower.losses.tiles import Asked, Hard

B, C, D = 11, 7, 3
TILES = [1, 8 * C * 4, 8 * C * B, None]


class Case:
    """A batch; `place` is all of its numbers, in an order."""

    def __init__(self, seed: int = 3, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.queries = torch.randn(B, D, generator=generator, dtype=dtype)
        self.candidates = torch.randn(C, D, generator=generator, dtype=dtype)
        self.positives = torch.randint(0, C, (B,), generator=generator)
        self.coefficients = torch.rand(B, generator=generator, dtype=dtype)
        self.coefficients[4] = 0
        self.bias = torch.randn(C, generator=generator, dtype=dtype)
        self.shift = torch.randn(B, generator=generator, dtype=dtype)
        self.matrix = torch.rand(B, C, generator=generator) < 0.3
        self.rows = torch.randint(0, B, (20,), generator=generator)  # in no order, some of them twice, some of own positives
        self.columns = torch.randint(0, C, (20,), generator=generator)
        self.rows[:3], self.columns[:3] = self.rows[3:6], self.columns[3:6]
        self.columns[6:8] = self.positives[self.rows[6:8]]

    def on(self, device: torch.device) -> Case:
        there = Case.__new__(Case)
        for name, values in vars(self).items():
            setattr(there, name, values.to(device))
        for leaf in (there.queries, there.candidates):
            leaf.requires_grad_()
        return there

    def take(self, other: Case) -> None:
        with torch.no_grad():
            for name, values in vars(other).items():
                getattr(self, name).copy_(values)

    def loss(self, options: dict[str, Any], tile_bytes: int | None, precision: Precision = "float32") -> Tensor:
        masks: dict[str, Mask] = {"matrix": self.matrix, "pairs": (self.rows, self.columns)}
        return tiled_cross_entropy(
            self.queries,
            self.candidates,
            self.positives,
            self.coefficients,
            bias_C=self.bias if "bias" in options else None,
            own_shift_B=self.shift if "shift" in options else None,
            masked=masks.get(options.get("masked", "")),
            hard=options.get("hard"),
            tile_bytes=tile_bytes,
            precision=precision,
        )

    def written_out(self, options: dict[str, Any]) -> Tensor:
        logits = self.queries @ self.candidates.T
        if "bias" in options:
            logits = logits + self.bias
        own = torch.zeros(B, C, dtype=torch.bool)
        own[torch.arange(B), self.positives] = True
        if "shift" in options:
            logits = logits + own * self.shift[:, None]
        masked = self.matrix if options.get("masked") == "matrix" else torch.zeros(B, C, dtype=torch.bool)
        if options.get("masked") == "pairs":
            masked[self.rows, self.columns] = True
        logits = logits.masked_fill(masked & ~own, -torch.inf)
        if "hard" in options:
            for row in range(B):
                order = logits.detach()[row].masked_fill(own[row], -torch.inf).argsort(descending=True)
                for column in order[options["hard"].most :].tolist():
                    if column != int(self.positives[row]):
                        logits[row, column] = -torch.inf
        return (softmax_cross_entropy(logits, self.positives, reduction="none") * self.coefficients).sum()

    def results(self, value: Tensor) -> list[Tensor]:
        return [value.detach(), *torch.autograd.grad(3 * value, (self.queries, self.candidates))]


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tile_bytes", TILES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": 1},
        {"shift": 1},
        {"masked": "matrix"},
        {"masked": "pairs"},
        {"masked": "pairs", "bias": 1, "shift": 1},
        {"hard": Hard(2)},
        {"hard": Hard(3), "bias": 1, "masked": "pairs"},
    ],
    ids=str,
)
def test_recorded_once_it_is_the_written_out_loss_of_every_batch(options: dict[str, Any], tile_bytes: int | None) -> None:
    batches = [Case(seed).on(torch.device("cpu")) for seed in (3, 4, 5)]
    expected = [batch.results(batch.written_out(options)) for batch in batches]
    with emulated() as emulation:
        there = Case(3).on(DEVICE)
        with emulation.record() as recording:  # which refuses whatever makes the host wait
            found = there.results(there.loss(options, tile_bytes))
        assert_same(found, expected[0])
        for batch, theirs in zip(batches[1:], expected[1:], strict=True):
            there.take(batch)
            recording.replay()
            assert_same(found, theirs)


def test_a_mask_that_does_not_fit_is_refused_and_one_of_nothing_is_none() -> None:
    with emulated():
        there = Case().on(DEVICE)
        plain = there.results(there.loss({}, None))
        there.rows, there.columns = there.rows[:0], there.columns[:0]
        assert_same(there.results(there.loss({"masked": "pairs"}, 1)), [each.cpu() for each in plain])
        there.rows = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        with pytest.raises(ValueError, match="equal length"):
            there.loss({"masked": "pairs"}, None)
        there.matrix = there.matrix.T
        with pytest.raises(ValueError, match="bool of shape"):
            there.loss({"masked": "matrix"}, None)


def test_a_candidate_of_minus_infinity_has_no_gradient_at_all() -> None:
    with emulated():
        there = Case()
        there.positives.clamp_(max=C - 2)
        there.bias[C - 1] = -torch.inf
        there = there.on(DEVICE)
        _, queries, candidates = there.results(there.loss({"bias": 1}, 8 * C))
        assert candidates.cpu()[C - 1].tolist() == [0.0] * D
        assert candidates.cpu()[: C - 1].abs().min() > 0
        assert bool(queries.cpu().isfinite().all())


def test_scores_that_exponentials_can_not_hold_and_numbers_that_are_none() -> None:
    with emulated():
        case = Case(dtype=torch.float32)
        case.queries[:, 0], case.candidates[:, 0] = 1000, torch.arange(C)
        there = case.on(DEVICE)
        expected = ((C - 1 - case.positives) * 1000.0 * case.coefficients).sum()
        assert float(there.loss({}, 4 * C * 3).detach().cpu()) == pytest.approx(float(expected), rel=1e-3)
        there.queries = there.queries.detach() * torch.nan
        assert bool(there.loss({}, None).cpu().isnan())


@pytest.mark.parametrize("tile_bytes", [1, 4 * C * 4, None])
def test_narrow_products_are_near_the_wide_ones_and_add_up_wide(tile_bytes: int | None) -> None:
    options = {"bias": 1, "shift": 1, "masked": "matrix"}
    wide = Case(dtype=torch.float32).on(torch.device("cpu"))
    expected = wide.results(wide.written_out(options))
    with emulated() as emulation:
        there = Case(dtype=torch.float32).on(DEVICE)
        with emulation.record():
            found = there.results(there.loss(options, tile_bytes, "bfloat16"))
        assert [each.dtype for each in found] == [torch.float32] * 3
        assert_same(found, expected, 0.06)
        assert all(not torch.equal(ours.cpu(), theirs) for ours, theirs in zip(found, expected, strict=True))


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    with emulated():
        there = Case().on(DEVICE)
        loud = there.loss({}, None)
        with torch.no_grad():
            silent = there.loss({}, None)
        assert (loud.requires_grad, silent.requires_grad) == (True, False)
        assert float(loud.detach().cpu()) == float(silent.cpu())


class _Made(TorchDispatchMode):
    """The largest tensor that was made, and how many products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.largest = max(self.largest, made.untyped_storage().nbytes())
        self.products += str(func).startswith(("aten.mm", "aten.addmm"))
        return made


def work_on(batch: int, tile_bytes: int | None, precision: Precision = "float32") -> _Made:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = (torch.randn(batch, 4, generator=generator) for _ in range(2))
    rows = torch.arange(batch)
    made = _Made()
    with made:
        tiles = DeviceTiles(queries, candidates, None, (rows, rows.flip(0)), precision)
        tiles.losses(Asked(rows, torch.ones(batch), None, None), gradients=True, tile_bytes=tile_bytes)
    return made


def test_a_small_batch_is_one_product_and_a_large_one_is_never_a_matrix() -> None:
    assert work_on(600, None).products == 3
    for precision in ("float32", "bfloat16"):
        made = work_on(600, 2**17, precision)
        assert made.products == 3 * 12
        assert made.largest <= 2**17 + 2**10
    # 65,536 queries and candidates: the eager loss keeps three matrices of them
    vectors = torch.zeros(1, 64).expand(65_536, 64)
    rows = DeviceTiles(vectors, vectors, None, None, "float32").rows(None)
    assert 1 / 500 < rows / (3 * 65_536) < 1 / 300


def test_few_queries_are_not_taken_one_by_one_however_many_candidates_there_are() -> None:
    candidates = torch.zeros(1, 64).expand(50_000_000, 64)
    assert DeviceTiles(torch.zeros(100, 64), candidates, None, None, "float32").rows(None) == 50


def test_what_runs_does_not_depend_on_values() -> None:
    def recorded(emulation: Emulation, seed: int) -> int:
        there = Case(seed).on(DEVICE)
        with emulation.record() as recording:
            there.results(there.loss({"masked": "pairs", "bias": 1}, 8 * C * 2))
        return recording.count

    with emulated() as emulation:
        assert len({recorded(emulation, seed) for seed in range(4)}) == 1
