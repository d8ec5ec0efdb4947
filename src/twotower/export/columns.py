"""Encoded columns as they go through a graph."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["Encoded", "FloatsValue", "RaggedValue", "RowsValue"]


class FloatsValue(NamedTuple):
    """Numbers that go into a tower as they are.

    Attributes:
        values: float32 ``[B, width]``.
    """

    values: str


class RowsValue(NamedTuple):
    """One row of a table each.

    Attributes:
        rows: Integers, ``[B]``.
    """

    rows: str


class RaggedValue(NamedTuple):
    """Any number of rows of a table each.

    Attributes:
        rows: int64 ``[B, L]``; a row of the table where there is none.
        there: float32 ``[B, L]``: 1 where there is a row, and 0 elsewhere.
        counts: How many there are, float32 ``[B, 1]``, at least 1.
    """

    rows: str
    there: str
    counts: str


Encoded: TypeAlias = FloatsValue | RowsValue | RaggedValue
