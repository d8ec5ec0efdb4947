"""Copies of ragged rows by the kernel against the same by torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.native import native_status
from twotower.native.ragged import gather_rows, keep_values, other_values, place_rows
from twotower.types import Ragged, gather_slices

pytestmark = pytest.mark.skipif(not native_status("ragged").available, reason="there is no C compiler")

DTYPES = [torch.bool, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64, torch.uint8]


def column(seed: int, rows: int = 40, dtype: torch.dtype = torch.int32) -> Ragged:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 7, (rows,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return Ragged(torch.randint(0, 5, (int(offsets[-1]),), generator=generator).to(dtype), offsets)


def slow(work: str, ragged: Ragged, argument: Tensor, monkeypatch: pytest.MonkeyPatch) -> Ragged:
    with monkeypatch.context() as patch:
        patch.setenv("TWOTOWER_NATIVE", "0")
        found: Ragged = getattr(ragged, work)(argument)
    return found


def assert_same(one: Ragged, other: Ragged) -> None:
    assert one.values.dtype == other.values.dtype
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.offsets, other.offsets)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_rows_that_are_taken(dtype: torch.dtype, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        ragged = column(seed, dtype=dtype)
        wanted = torch.randint(0, 40, (rows,), generator=torch.Generator().manual_seed(seed))
        assert_same(ragged.take(wanted), slow("take", ragged, wanted, monkeypatch))
        assert gather_rows(ragged.values, ragged.offsets[wanted], ragged.take(wanted).offsets) is not None


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_are_kept(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        ragged = column(seed, rows=seed * 20, dtype=dtype)
        for share in (0.0, 0.4, 1.0):
            marks = torch.rand(len(ragged.values), generator=torch.Generator().manual_seed(seed)) < share
            assert_same(ragged.keep(marks), slow("keep", ragged, marks, monkeypatch))
            assert keep_values(ragged.values, marks, ragged.offsets) is not None


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_values_that_are_not_the_rows_own(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        ragged = column(seed, dtype=dtype)
        own = torch.randint(-1, 5, (40,), generator=torch.Generator().manual_seed(seed))
        found = ragged.without(own)
        assert_same(found, slow("without", ragged, own, monkeypatch))
        assert 0 < len(found.values) < len(ragged.values)
        assert (other_values(ragged.values, own, ragged.offsets) is None) == (dtype == torch.int64)


def test_parts_are_worked_on_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    ragged = column(3, rows=1000)
    marks = ragged.values > 2
    own = torch.full((1000,), 3)
    alone = (ragged.take(torch.arange(999, -1, -1)), ragged.keep(marks), ragged.without(own))
    monkeypatch.setattr("twotower.native.ragged._parts", lambda _: 7)
    several = (ragged.take(torch.arange(999, -1, -1)), ragged.keep(marks), ragged.without(own))
    for one, other in zip(alone, several, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("start", "length"), [(4, 2), (-1, 1), (5, 1), (0, 6)])
def test_rows_that_are_not_there(start: int, length: int) -> None:
    with pytest.raises(IndexError, match=rf"row 1, {length} values from {start} on, is not within the 5 that there are"):
        gather_slices(torch.arange(5), torch.tensor([0, start]), torch.tensor([2, length]))


def test_what_the_kernel_does_not_take_is_left_to_torch() -> None:
    offsets = torch.tensor([0, 2, 4])
    assert gather_rows(torch.ones(4, 2), offsets[:-1], offsets) is None
    assert gather_rows(torch.ones(4), offsets[:-1], offsets.int()) is None
    assert keep_values(torch.ones(4), torch.ones(4), offsets) is None
    assert keep_values(torch.ones(4), torch.ones(3, dtype=torch.bool), offsets) is None
    assert keep_values(torch.ones(4, dtype=torch.complex128), torch.ones(4, dtype=torch.bool), offsets) is None
    assert other_values(torch.ones(4, dtype=torch.int32), torch.ones(3, dtype=torch.int64), offsets) is None
    assert gather_rows(torch.arange(10)[::2], offsets[:-1], offsets).tolist() == [0, 2, 4, 6]  # type: ignore[union-attr]


def test_a_row_from_behind_is_refused_and_nothing_is_overwritten() -> None:
    ragged = Ragged(torch.arange(15), torch.tensor([0, 10, 12, 15]))
    with pytest.raises(IndexError, match=r"rows must be in \[0, 3\); came -1"):
        ragged.take(torch.tensor([0, -1, 1]))


@pytest.mark.parametrize("offsets", [[0, 5, 20], [0, 12, 10], [1, 5, 10], [0, 5, 9]])
def test_rows_that_are_not_end_to_end_are_left_to_torch(offsets: list[int]) -> None:
    starts = torch.tensor(offsets)
    assert keep_values(torch.arange(10), torch.ones(10, dtype=torch.bool), starts) is None
    assert other_values(torch.arange(10).int(), torch.zeros(2, dtype=torch.int64), starts) is None
    assert gather_rows(torch.arange(10), torch.tensor([0, 5], dtype=torch.int32), starts) is None
    assert gather_rows(torch.arange(10), torch.tensor([0, 5, 5]), starts) is None


@pytest.mark.parametrize("count", [0, 1, 40])
def test_where_rows_will_be(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    lengths = torch.randint(0, 5, (9,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    rows = torch.randint(0, 9, (count,), generator=generator)
    placed = place_rows(offsets, rows)
    assert placed is not None
    assert torch.equal(placed[0], offsets[rows])
    assert placed[1].tolist() == [0, *lengths[rows].cumsum(0).tolist()]


@pytest.mark.parametrize("row", [-1, 9])
def test_a_row_that_has_no_place(row: int) -> None:
    with pytest.raises(IndexError, match=rf"rows must be in \[0, 9\); came {row}"):
        place_rows(torch.arange(10), torch.tensor([0, row]))
    assert place_rows(torch.arange(10), torch.tensor([0, 1], dtype=torch.int32)) is None
