"""One rule for rows that repeat a (user, item) pair."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["count_repeats", "resolve_repeats"]

_AT_ONCE = 2**20


def count_repeats(frame: pl.DataFrame, user: str, item: str) -> int:
    """How many rows have a (user, item) pair that an earlier row has.

    Args:
        frame: Without nulls in the two columns.
        user: Column of users; UInt32, as an Enum has them, are codes.
        item: Column of items, in the same form.
    """
    users, items = _codes(frame[user]), _codes(frame[item])
    if users is None or items is None:
        return frame.height - frame.select(user, item).n_unique()
    # one number a pair, sorted in place: 8 bytes a row
    num_items = cast("int", items.max() or 0) + 1
    pairs = np.empty(frame.height, dtype=np.int64)
    for start in range(0, frame.height, _AT_ONCE):
        of_some = pairs[start : start + _AT_ONCE]
        np.multiply(users.slice(start, _AT_ONCE).to_numpy(), num_items, out=of_some, dtype=np.int64)
        of_some += items.slice(start, _AT_ONCE).to_numpy()
    pairs.sort()
    repeats = 0
    for start in range(1, len(pairs), _AT_ONCE):
        part = pairs[start - 1 : start + _AT_ONCE]
        repeats += int((part[1:] == part[:-1]).sum())
    return repeats


def _codes(column: pl.Series) -> pl.Series | None:
    dtype = column.dtype
    return column if dtype == pl.UInt32 else column.to_physical() if dtype == pl.Enum else None


def resolve_repeats(
    frame: pl.DataFrame,
    *,
    user: str,
    item: str,
    rule: Literal["keep", "first", "last", "sum"],
    order: NDArray[np.int64],
    weights: pl.Series | None,
) -> tuple[NDArray[np.int64], pl.Series | None]:
    """Which rows remain, and their weights.

    Args:
        frame: Rows in the order of the file.
        user: Column of users.
        item: Column of items.
        rule: ``keep`` all, the ``first`` or ``last`` of a pair in ``order``, or ``sum``: the last, with summed weights.
        order: int64 ``[n]``: row numbers, what happened first to last.
        weights: Weight by row; None: 1 each.

    Returns:
        int64 row numbers, ascending, and for ``sum`` the Float64 weights of those rows (else None).
    """
    if rule == "keep":
        return np.arange(frame.height, dtype=np.int64), None
    by_row = pl.repeat(1.0, frame.height, eager=True) if weights is None else weights.cast(pl.Float64)
    pairs = frame.select(pl.col(user).alias("user"), pl.col(item).alias("item"), by_row.alias("weight"))
    ordered = pairs.with_row_index("row")[order].with_columns(pl.col("weight").sum().over("user", "item"))
    kept = ordered.unique(subset=["user", "item"], keep="first" if rule == "first" else "last").sort("row")
    rows = kept["row"].cast(pl.Int64).to_numpy().copy()
    return rows, kept["weight"] if rule == "sum" else None
