"""Rows that follow one another are a slice, whatever their number; others are not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.data.consecutive import as_slice, taken, taken_frame


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], slice(0, 0)),
        ([7], slice(7, 8)),
        ([3, 4, 5], slice(3, 6)),
        ([3, 5, 4, 6], None),
        ([5, 4], None),
        ([2, 2], None),
        ([1, 3], None),
        ([-2, -1], None),
        ([-1, 0], None),
    ],
)
def test_a_slice_is_found_where_there_is_one(rows: list[int], expected: slice | None) -> None:
    assert as_slice(np.array(rows, dtype=np.int64)) == expected


def test_every_row_of_a_long_run_is_looked_at() -> None:
    rows = np.arange(5, 5 + 2**20 + 100)
    assert as_slice(rows) == slice(5, 5 + len(rows))
    swapped = rows.copy()
    swapped[[2**20 + 10, 2**20 + 20]] = swapped[[2**20 + 20, 2**20 + 10]]
    assert as_slice(swapped) is None


@pytest.mark.parametrize("rows", [[2, 3, 4], [4, 2], [0, 1, 2, 3, 4], []])
def test_taking_is_indexing(rows: list[int]) -> None:
    values, chosen = np.arange(10, 15), np.array(rows, dtype=np.int64)
    assert taken(values, chosen).tolist() == [10 + row for row in rows]
    assert taken_frame(pl.DataFrame({"v": values}), chosen)["v"].to_list() == [10 + row for row in rows]


def test_a_run_of_rows_is_a_view() -> None:
    values = np.arange(5)
    assert np.shares_memory(taken(values, np.array([1, 2])), values)
    assert not np.shares_memory(taken(values, np.array([2, 1])), values)
