from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.types import (
    Coded,
    Computed,
    Events,
    Prefixes,
    Ragged,
    column_length,
    column_to,
    gather_slices,
    take_column,
)

lists = st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=6)


def ragged(rows: list[list[int]]) -> Ragged:
    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row))
    return Ragged(torch.tensor([value for row in rows for value in row], dtype=torch.int64), torch.tensor(offsets))


def unragged(column: Ragged) -> list[list[int]]:
    values, offsets = column.values.tolist(), column.offsets.tolist()
    assert offsets[0] == 0
    assert offsets[-1] == len(values)
    return [values[start:end] for start, end in itertools.pairwise(offsets)]


@given(lists, st.data())
def test_take_is_indexing(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8) if rows else st.just([]))
    taken = ragged(rows).take(torch.tensor(chosen, dtype=torch.int64))
    assert unragged(taken) == [rows[row] for row in chosen]


@given(lists, st.randoms(use_true_random=False))
def test_keep_shortens_rows(rows: list[list[int]], random: object) -> None:
    kept = [[value % 3 != 0 for value in row] for row in rows]
    mask = torch.tensor([flag for row in kept for flag in row], dtype=torch.bool)
    expected = [[value for value, flag in zip(row, flags, strict=True) if flag] for row, flags in zip(rows, kept, strict=True)]
    assert unragged(ragged(rows).keep(mask)) == expected


@given(st.lists(st.integers(), min_size=1, max_size=20), st.data())
def test_gather_slices_is_slicing(values: list[int], data: st.DataObject) -> None:
    slices = data.draw(
        st.lists(st.integers(0, len(values)).flatmap(lambda start: st.tuples(st.just(start), st.integers(start, len(values)))))
    )
    values = [value % 1000 for value in values]
    starts = torch.tensor([start for start, _ in slices], dtype=torch.int64)
    lengths = torch.tensor([end - start for start, end in slices], dtype=torch.int64)
    assert unragged(gather_slices(torch.tensor(values), starts, lengths)) == [values[start:end] for start, end in slices]


def test_types_of_values_are_kept() -> None:
    column = Ragged(torch.tensor([1, 2, 3], dtype=torch.int32), torch.tensor([0, 1, 3]))
    assert column.take(torch.tensor([1])).values.dtype == torch.int32
    assert column.keep(torch.tensor([True, False, True])).values.dtype == torch.int32


def test_columns_of_both_kinds_are_taken_moved_and_counted() -> None:
    many, one = ragged([[1], [], [2, 3]]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    rows = torch.tensor([2, 0])
    taken = take_column(many, rows)
    assert isinstance(taken, Ragged)
    assert unragged(taken) == [[2, 3], [1]]
    assert torch.equal(take_column(one, rows), torch.tensor([[5.0, 6.0], [1.0, 2.0]]))  # type: ignore[arg-type]
    assert column_length(many) == column_length(one) == 3
    assert many.lengths.tolist() == [1, 0, 2]
    moved = column_to(many, "meta")
    assert isinstance(moved, Ragged)
    assert (moved.values.device.type, moved.offsets.device.type) == ("meta", "meta")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_a_coded_column_is_its_values_by_code(dtype: torch.dtype) -> None:
    codes = torch.tensor([2, 0, 1, 2], dtype=dtype)
    floats = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    taken = take_column(Coded(codes, floats), torch.tensor([3, 1, 1]))
    assert isinstance(taken, torch.Tensor)
    assert taken.tolist() == [[5.0, 6.0], [1.0, 2.0], [1.0, 2.0]]
    lists = take_column(Coded(codes, ragged([[7], [], [8, 9]])), torch.tensor([0, 2, 1]))
    assert isinstance(lists, Ragged)
    assert unragged(lists) == [[8, 9], [], [7]]


def test_a_coded_column_has_a_row_per_code_and_moves_whole() -> None:
    column = Coded(torch.tensor([1, 1, 0, 1], dtype=torch.uint8), torch.tensor([5, 6]))
    assert column_length(column) == 4
    moved = column_to(column, "meta")
    assert isinstance(moved, Coded)
    assert isinstance(moved.values, torch.Tensor)
    assert (moved.codes.device.type, moved.values.device.type) == ("meta", "meta")


def test_codes_above_127_are_not_negative() -> None:
    values = torch.arange(256) * 10
    codes = torch.tensor([255, 128, 3], dtype=torch.uint8)
    taken = take_column(Coded(codes, values), torch.tensor([0, 1, 2]))
    assert isinstance(taken, torch.Tensor)
    assert taken.tolist() == [2550, 1280, 30]


def test_codes_may_stay_in_a_file(tmp_path: Path) -> None:
    np.array([0, 2, 1], dtype=np.int32).tofile(tmp_path / "codes")
    codes = torch.from_numpy(np.memmap(tmp_path / "codes", dtype=np.int32, mode="c"))
    taken = take_column(Coded(codes, torch.tensor([4, 5, 6])), torch.tensor([1, 2]))
    assert isinstance(taken, torch.Tensor)
    assert taken.tolist() == [6, 5]


def test_a_computed_column_is_asked_for_the_rows_that_are_taken() -> None:
    asked: list[list[int]] = []

    def compute(rows: torch.Tensor) -> torch.Tensor:
        asked.append(rows.tolist())
        return rows * 10

    column = Computed(5, compute)
    assert column_length(column) == 5
    taken = take_column(column_to(column, "cpu"), torch.tensor([4, 0, 4]))
    assert isinstance(taken, torch.Tensor)
    assert taken.tolist() == [40, 0, 40]
    assert asked == [[4, 0, 4]]


def events() -> Events:
    """Two sequences of three events and one, and rows that are beginnings of them."""
    sequences = Ragged(torch.tensor([7, 8, 9, 5]), torch.tensor([0, 3, 4]))
    items = Prefixes(sequences, torch.tensor([1, 0, 0, 0]), torch.tensor([1, 3, 0, 2]))
    return Events(items, torch.tensor([10, 20, 30, 100]), torch.tensor([35, 150]), {"rating": torch.tensor([1, 2, 3, 4])})


def test_events_of_each_row_know_when_what_follows_is_asked_for() -> None:
    alone = events().ragged()
    assert isinstance(alone.items, Ragged)
    assert alone.times is not None
    assert alone.asked is not None
    assert [alone.items.values.tolist(), alone.items.offsets.tolist()] == [[5, 7, 8, 9, 7, 8], [0, 1, 4, 4, 6]]
    assert alone.times.tolist() == [100, 10, 20, 30, 10, 20]
    assert alone.columns["rating"].tolist() == [4, 1, 2, 3, 1, 2]
    assert alone.asked.tolist() == [150, 35, 10, 30]  # inside of a sequence, the next event's time
    assert alone.ragged() is alone


def test_taken_events_stay_together() -> None:
    for column in (events(), events().ragged()):
        taken = column.take(torch.tensor([3, 0, 3]))
        assert isinstance(taken.items, Ragged)
        assert taken.times is not None
        assert taken.asked is not None
        assert taken.num_rows == 3
        assert [taken.items.values.tolist(), taken.items.offsets.tolist()] == [[7, 8, 5, 7, 8], [0, 2, 3, 5]]
        assert [taken.times.tolist(), taken.asked.tolist()] == [[10, 20, 100, 10, 20], [30, 150, 30]]
        assert taken.columns["rating"].tolist() == [1, 2, 4, 1, 2]
    bare = Events(events().items)
    assert bare.take(torch.tensor([3])).times is None
    assert bare.ragged().asked is None
    assert (bare.num_rows, bare.columns) == (4, {})


def test_events_move_whole() -> None:
    moved = events().to("meta")
    assert isinstance(moved.items, Prefixes)
    parts = [*moved.items.sequences, *moved.items[1:], moved.times, moved.asked, moved.columns["rating"]]
    assert all(isinstance(part, torch.Tensor) and part.device.type == "meta" for part in parts)
    assert Events(events().items).to("meta").times is None
