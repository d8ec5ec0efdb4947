"""Missing values become what was declared for their column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import polars as pl

from twotower.errors import TableReadError, nearest

__all__ = ["FillValue", "fill_missing", "fill_value", "missing_dtype", "require_filled_columns"]

FillValue: TypeAlias = bool | int | float | str
"""What can be put where a value is missing: of the type of its column."""


def fill_missing(frame: pl.DataFrame, fill: Mapping[str, FillValue], *, noun: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """Put declared values where there are none.

    Missing is a null (in text an empty field), and NaN in a column of floats. A column of text without a single value takes the
    type of its fill.

    Args:
        frame: A table that has its types.
        fill: By name of column, what a missing value becomes.
        noun: What the table is called in an error.

    Returns:
        The table, and how many values were filled by column, in the order of `fill`.

    Raises:
        TableReadError: If a column does not exist, or its fill is not of its type.

    Example:
        >>> table = pl.DataFrame({"age": [31, None], "lang": [None, "pt"]})
        >>> fill_missing(table, {"age": 30, "lang": "unknown"}, noun="log")[0].rows()
        [(31, 'unknown'), (30, 'pt')]
    """
    require_filled_columns(fill, frame.columns, noun=noun)
    filled: dict[str, int] = {}
    for name, wanted in fill.items():
        column = frame[name]
        if column.dtype in (pl.String, pl.Null) and column.null_count() == len(column):
            column = column.cast(missing_dtype(wanted))
        value = fill_value(wanted, column.dtype, name, noun=noun)
        missing = column.is_null() | column.is_nan().fill_null(True) if column.dtype.is_float() else column.is_null()
        filled[name] = int(missing.sum())
        column = column.fill_nan(None) if column.dtype.is_float() else column
        frame = frame.with_columns(column.fill_null(pl.lit(value, dtype=column.dtype)).alias(name))
    return frame, filled


def require_filled_columns(fill: Mapping[str, FillValue], columns: list[str], *, noun: str) -> None:
    """Check that what is filled exists.

    Raises:
        TableReadError: Naming the first column that does not.
    """
    for name in fill:
        if name not in columns:
            raise TableReadError(f"{noun}: no column {name!r}, which `fill` names{nearest(name, columns)}")


def missing_dtype(wanted: FillValue) -> pl.DataType:
    """The type that a column of text without a single value takes from its fill."""
    if isinstance(wanted, str):
        return pl.String()
    if isinstance(wanted, bool):
        return pl.Boolean()
    return pl.Int64() if isinstance(wanted, int) else pl.Float64()


def fill_value(wanted: FillValue, dtype: pl.DataType, name: str, *, noun: str) -> FillValue:
    """What is written into a column of a type: ``30.0`` becomes 30 among integers, and nothing else changes.

    Raises:
        TableReadError: If it is not of this type.
    """
    if dtype in (pl.String, pl.Enum, pl.Categorical):
        right = isinstance(wanted, str)
    elif dtype == pl.Boolean:
        right = isinstance(wanted, bool)
    elif dtype.is_float():
        right = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    elif dtype.is_integer():
        right = isinstance(wanted, int | float) and not isinstance(wanted, bool) and float(wanted).is_integer()
        right = right and not pl.Series([int(wanted)], dtype=pl.Int128).cast(dtype, strict=False).null_count()
        wanted = int(wanted) if right else wanted
    else:
        right = False
    if not right:
        raise TableReadError(
            f"{noun}: column {name!r} is {dtype}, and `fill` has {wanted!r} for it; fill it with a value of its type, or "
            "declare the type of the column in `types`"
        )
    return wanted
