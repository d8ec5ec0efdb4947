"""Lists end to end, against Python's."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.preprocessing.lists import flatten, to_ragged


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=4)), max_size=10))
def test_values_and_lengths(rows: list[list[int | None] | None]) -> None:
    kept = [[value for value in row or [] if value is not None] for row in rows]
    values, lengths = flatten(pl.Series(rows, dtype=pl.List(pl.Int64)))
    assert values.to_list() == [value for row in kept for value in row]
    assert lengths.tolist() == [len(row) for row in kept]


def test_ragged_has_int64_offsets_from_zero() -> None:
    column = to_ragged(np.array([5, 6], dtype=np.int32), np.array([0, 2, 0], dtype=np.int64))
    assert column.offsets.tolist() == [0, 0, 2, 2]
    assert (column.values.dtype, column.offsets.dtype) == (torch.int32, torch.int64)
    assert to_ragged(np.array([], dtype=np.int32), np.array([], dtype=np.int64)).offsets.tolist() == [0]
