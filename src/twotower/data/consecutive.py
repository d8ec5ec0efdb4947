"""Rows that follow one another: a part of an ordered log is a slice of it, and no copy."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["as_slice", "taken", "taken_frame"]

_AT_ONCE = 2**20

Scalar = TypeVar("Scalar", bound=np.generic)


def as_slice(rows: NDArray[np.int64]) -> slice | None:
    """The slice that holds the very rows, in their order; None where they do not follow one another.

    Example:
        >>> as_slice(np.array([4, 5, 6])), as_slice(np.array([4, 6]))
        (slice(4, 7, None), None)
    """
    if not len(rows):
        return slice(0, 0)
    first, last = int(rows[0]), int(rows[-1])
    if first < 0 or last - first != len(rows) - 1:
        return None
    for start in range(0, len(rows), _AT_ONCE):  # a few at a time: whether it saves a copy must not cost one
        part = rows[start : start + _AT_ONCE]
        if not np.array_equal(part, np.arange(first + start, first + start + len(part))):
            return None
    return slice(first, last + 1)


def taken(values: NDArray[Scalar], rows: NDArray[np.int64]) -> NDArray[Scalar]:
    """``values[rows]``: a view where the rows follow one another, else a copy."""
    found = as_slice(rows)
    return values[rows] if found is None else values[found]


def taken_frame(frame: pl.DataFrame, rows: NDArray[np.int64]) -> pl.DataFrame:
    """``frame[rows]``: without a copy where the rows follow one another."""
    found = as_slice(rows)
    return frame[np.asarray(rows, dtype=np.int64)] if found is None else frame.slice(found.start, found.stop - found.start)
