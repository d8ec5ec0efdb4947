from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import RaggedArray


def ragged(lists: list[list[int]]) -> RaggedArray:
    ends = [sum(len(each) for each in lists[:number]) for number in range(len(lists) + 1)]
    return RaggedArray(np.array([value for each in lists for value in each], dtype=np.int64), np.array(ends))


def as_lists(rows: RaggedArray) -> list[list[int]]:
    return [rows.values[rows.offsets[row] : rows.offsets[row + 1]].tolist() for row in range(len(rows))]


@given(st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=6), st.data())
def test_rows_are_taken_and_their_values_told_apart(lists: list[list[int]], data: st.DataObject) -> None:
    rows = ragged(lists)
    assert as_lists(rows) == lists
    assert rows.lengths.tolist() == [len(each) for each in lists]
    assert rows.owners.tolist() == [number for number, each in enumerate(lists) for _ in each]
    assert as_lists(rows.distinct()) == [sorted(set(each)) for each in lists]
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=4)) if lists else []
    assert as_lists(rows.take(np.array(chosen, dtype=np.int64))) == [lists[row] for row in chosen]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_mask_gives_its_columns(mask: list[list[bool]]) -> None:
    expected = [[column for column, true in enumerate(row) if true] for row in mask]
    assert as_lists(RaggedArray.from_mask(np.array(mask))) == expected


def test_arrays_become_int64() -> None:
    rows = RaggedArray(np.array([1, 2], dtype=np.uint8), np.array([0, 2], dtype=np.int32))
    assert (rows.values.dtype.name, rows.offsets.dtype.name) == ("int64", "int64")
    assert len(RaggedArray(np.array([]), np.array([0]))) == 0


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        ([0.5], [0, 1], r"values must be integers of one dimension; came float64 of shape \(1,\)"),
        ([1], [[0, 1]], r"offsets must be integers of one dimension; came int64 of shape \(1, 2\)"),
        ([1], [], r"rise from 0 to 1, the number of values; came none"),
        ([1], [1, 1], r"rise from 0 to 1, the number of values; came 1 to 1"),
        ([1, 2], [0, 1], r"rise from 0 to 2, the number of values; came 0 to 1"),
        ([1, 2], [0, 2, 1, 2], r"rise from 0 to 2, the number of values; came 0 to 2"),
        ([3, -1], [0, 2], r"not be negative; came -1"),
    ],
)
def test_what_can_not_be_rows_is_refused(values: Any, offsets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaggedArray(np.array(values), np.array(offsets))


def test_a_mask_must_be_one() -> None:
    with pytest.raises(ValueError, match=r"bool of shape \[n, c\]; came int64 of shape \(1, 1\)"):
        RaggedArray.from_mask(np.array([[1]]))
