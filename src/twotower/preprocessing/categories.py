"""Columns of categories (``pl.Enum``): every distinct one is fitted and encoded once, and rows are gathered by code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.errors import DataError
from twotower.preprocessing.counts import row_counts
from twotower.types import Coded, Column, Ragged

__all__ = ["category_codes", "code_dtype", "code_tensor", "encode_by_category", "fit_by_category", "fit_by_code"]

Fitted = TypeVar("Fitted")
Encoded = TypeVar("Encoded", bound=Tensor | Ragged)

_CHUNK_ROWS = 1 << 20


def category_codes(column: pl.Series) -> tuple[NDArray[np.generic], pl.Series]:
    """The distinct categories that rows may have, and for each row which of them it has.

    Args:
        column: ``pl.Enum``, ``[n]``.

    Returns:
        Codes ``[n]`` in the narrowest of uint8, int16 and int32, which may be read-only memory of the column itself; and the
        categories that they point at, String, null the last one if a row has none. Where there are more categories than rows,
        those that no row has are left out.

    Example:
        >>> codes, values = category_codes(pl.Series(["b", None, "a", "b"], dtype=pl.Enum(["a", "b", "c"])))
        >>> codes.tolist(), values.to_list()
        ([1, 3, 0, 1], ['a', 'b', 'c', None])
    """
    dtype = column.dtype
    if not isinstance(dtype, pl.Enum):
        raise TypeError(f"categories are a column of Enum; came {dtype}")
    values, physical = dtype.categories.cast(pl.String), column.to_physical()
    codes: NDArray[np.generic]
    if physical.null_count():
        values = values.extend_constant(None, 1)
        room = pl.UInt8 if len(values) <= 1 << 8 else pl.UInt16 if len(values) <= 1 << 16 else pl.UInt32
        codes = physical.cast(room).fill_null(len(values) - 1).to_numpy()
    else:
        codes = physical.to_numpy()
    if len(codes) < len(values):
        occurring, codes = np.unique(codes, return_inverse=True)
        values = values.gather(occurring)
    narrow = np.dtype(code_dtype(len(values)))
    # of one width, the sign makes no difference to codes that have room: the same memory will do
    return codes.view(narrow) if codes.dtype.itemsize == narrow.itemsize else codes.astype(narrow), values


def code_dtype(size: int) -> type[np.uint8] | type[np.int16] | type[np.int32]:
    """The narrowest type that torch has for codes below ``size``: it has no whole numbers without sign but those of a byte."""
    return np.uint8 if size <= 1 << 8 else np.int16 if size <= 1 << 15 else np.int32


def code_tensor(codes: NDArray[np.generic]) -> Tensor:
    """Codes as a tensor, without a copy; nobody writes to codes, so that read-only memory will do."""
    return torch.from_dlpack(codes) if len(codes) else torch.from_numpy(codes.copy())  # type: ignore[attr-defined]


def fit_by_category(
    fit: Callable[[pl.Series, NDArray[np.int64] | None], Fitted], column: pl.Series, counts: NDArray[np.int64] | None
) -> Fitted:
    """What ``fit`` finds on the column as text, found on its distinct categories with their counts.

    Args:
        fit: Treats a row with count ``c`` as ``c`` equal rows, whatever their order.
        column: ``pl.Enum``, ``[n]``.
        counts: How many interactions each row stands for, ``[n]``; None: one each.

    Raises:
        DataError: As ``fit`` does for the rows, row numbers included.
    """
    if counts is not None:
        row_counts(counts, len(column))
    return fit_by_code(fit, *category_codes(column), counts, column)


def fit_by_code(
    fit: Callable[[pl.Series, NDArray[np.int64] | None], Fitted],
    codes: NDArray[np.generic],
    values: pl.Series,
    counts: NDArray[np.int64] | None,
    column: pl.Series,
) -> Fitted:
    """What ``fit`` finds on a column, found on its distinct values with their counts.

    Args:
        fit: Treats a row with count ``c`` as ``c`` equal rows, whatever their order.
        codes: For each row its place among the values, ``[n]``.
        values: The distinct values; some may be in no row.
        counts: How many interactions each row stands for, ``[n]``; None: one each.
        column: The rows themselves, ``[n]``; they are read if the fit fails, for the message.

    Raises:
        DataError: As ``fit`` does for the rows, row numbers included.
    """
    rows, totals = np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
    for start in range(0, len(codes), _CHUNK_ROWS):  # bincount widens what it reads to 64 bits
        part = codes[start : start + _CHUNK_ROWS].astype(np.int64)
        rows += np.bincount(part, minlength=len(values))
        if counts is not None:
            weights = counts[start : start + _CHUNK_ROWS]
            totals += np.bincount(part, weights=weights, minlength=len(values)).astype(np.int64)
    occurring = rows > 0
    totals = rows if counts is None else totals
    try:
        return fit(values.filter(pl.Series(occurring)), totals[occurring])
    except DataError:
        return fit(column.cast(values.dtype), counts)  # the same fault again, for its row numbers


def encode_by_category(encode: Callable[[pl.Series], Mapping[str, Encoded]], column: pl.Series) -> dict[str, Encoded]:
    """What ``encode`` makes of the column as text, made of its distinct categories and gathered.

    Args:
        encode: Encodes every row for itself.
        column: ``pl.Enum``, ``[n]``.

    Raises:
        DataError: As ``encode`` does for the rows, row numbers included.
    """
    codes, values = category_codes(column)
    try:
        encoded = encode(values)
    except DataError:  # for its row numbers; and the category at fault may be one that no row has
        return dict(encode(column.cast(pl.String)))
    rows = code_tensor(codes)
    return {name: _gathered(found, rows) for name, found in encoded.items()}


def _gathered(values: Encoded, codes: Tensor) -> Encoded:
    found: Column
    if isinstance(values, Tensor):
        found = values.index_select(0, codes.to(torch.int32))
    else:
        found = Coded(codes, values).take(torch.arange(len(codes)))
    return found  # type: ignore[return-value]
