"""Rows of different lengths: from a column of lists to its values end to end."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower.types import Ragged

__all__ = ["flatten", "to_ragged"]


def flatten(lists: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """The values of all lists end to end, and the length of each list (0 for null), int64 ``[n]``.

    Args:
        lists: A polars list column; nulls inside the lists are left out.

    Example:
        >>> values, lengths = flatten(pl.Series([["a", "b"], [], None, ["c", None]]))
        >>> values.to_list(), lengths.tolist()
        (['a', 'b', 'c'], [2, 0, 0, 1])
    """
    kept = lists.list.drop_nulls()
    lengths = kept.list.len().fill_null(0).cast(pl.Int64)
    return kept.filter(lengths > 0).explode(), lengths.to_numpy(writable=True)


def to_ragged(rows: NDArray[np.int32], lengths: NDArray[np.int64]) -> Ragged:
    """Rows end to end, int32 ``[total]``, and lengths, int64 ``[n]``, as a ragged column."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Ragged(torch.from_numpy(rows), torch.from_numpy(offsets))
