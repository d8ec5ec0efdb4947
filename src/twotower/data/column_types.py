"""Types of columns: declared by the caller, or told from text without ever losing a digit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import polars as pl

from twotower.errors import TableReadError, nearest

__all__ = ["ColumnType", "declare_types", "infer_types"]

ColumnType: TypeAlias = Literal["string", "integer", "float", "datetime", "boolean"]
"""A type that a column can be declared to have. A datetime is ISO 8601 text; without an offset it is UTC."""

_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def infer_types(frame: pl.DataFrame, *, declared: Mapping[str, ColumnType]) -> pl.DataFrame:
    """Turn undeclared columns of text into numbers where nothing can be lost by it.

    A column becomes Int64 when every value in it is a whole number as a person would write it, and Float64 when every value
    is a number. ``007`` (a leading zero), a whole number beyond 64 bits, and anything else leave the column as text.

    Args:
        frame: Columns of text, nulls where a field was empty.
        declared: Columns that have a declared type and are left alone.

    Example:
        >>> frame = pl.DataFrame({"user": ["1", "2"], "zip": ["01234", "98101"], "rating": ["4", "3.5"]})
        >>> infer_types(frame, declared={}).dtypes
        [Int64, String, Float64]
    """
    return frame.with_columns(_inferred(frame[name]) for name in frame.columns if name not in declared)


def _inferred(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String or column.null_count() == len(column) or not column.str.contains(_NUMBER).all():
        return column
    whole = column.str.contains(_WHOLE)
    if whole.any() and column.filter(whole).cast(pl.Int64, strict=False).null_count():
        return column  # more digits than 64 bits hold: as Float64 two ids could become one
    return column.cast(pl.Int64) if whole.all() else column.cast(pl.Float64)


def declare_types(
    frame: pl.DataFrame, types: Mapping[str, ColumnType], *, noun: str, locate: Callable[[int], str]
) -> pl.DataFrame:
    """Give columns their declared types.

    Args:
        frame: Any frame.
        types: Declared type by name of column.
        noun: What the table is called in an error.
        locate: From a row number to words such as ``"ratings.csv, row 3"``.

    Returns:
        The frame with String, Int64, Float64, ``Datetime("us")`` (naive, UTC) or Boolean columns where declared.

    Raises:
        TableReadError: If a declared column is missing, or a value is not of its type; names the column, the row and the value.
    """
    for name, column_type in types.items():
        if name not in frame.columns:
            raise TableReadError(f"{noun}: no column {name!r}, which `types` declares{nearest(name, frame.columns)}")
        column = frame[name]
        converted = _CONVERSIONS[column_type](column)
        faults = (converted.is_null() & column.is_not_null()).arg_true()
        if len(faults):
            row = int(faults[0])
            more = f" ({len(faults):,} such rows)" if len(faults) > 1 else ""
            raise TableReadError(
                f"{noun}: column {name!r} is declared {column_type}, but {locate(row)} holds {column[row]!r}{more}; "
                f"correct the value or declare another type{_HINTS[column_type]}"
            )
        frame = frame.with_columns(converted.alias(name))
    return frame


def _to_string(column: pl.Series) -> pl.Series:
    return column.cast(pl.String, strict=False)


def _to_integer(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        whole = column.is_finite() & (column == column.round())
        column = column.to_frame("x").select(pl.when(whole).then(pl.col("x"))).to_series()
    return _nothing(column) if column.dtype.is_temporal() else column.cast(pl.Int64, strict=False)


def _to_float(column: pl.Series) -> pl.Series:
    return _nothing(column) if column.dtype.is_temporal() else column.cast(pl.Float64, strict=False)


def _to_datetime(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if isinstance(column.dtype, pl.Datetime):
        zoned = column.dtype.time_zone is not None
        utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else column
        return utc.cast(pl.Datetime("us"))
    if column.dtype != pl.String:
        return _nothing(column).cast(pl.Datetime("us"))
    text = pl.col("x").str.replace("T", " ", literal=True)
    naive = [
        text.str.to_datetime(shape, time_unit="us", strict=False)
        for shape in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
    ]
    zoned_text = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    return column.to_frame("x").select(pl.coalesce(zoned_text.dt.replace_time_zone(None), *naive)).to_series()


def _to_boolean(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean:
        return column
    return column.cast(pl.String, strict=False).str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)


def _nothing(column: pl.Series) -> pl.Series:
    return pl.Series(column.name, [None] * len(column), dtype=pl.Int64)


_CONVERSIONS: Mapping[ColumnType, Callable[[pl.Series], pl.Series]] = {
    "string": _to_string,
    "integer": _to_integer,
    "float": _to_float,
    "datetime": _to_datetime,
    "boolean": _to_boolean,
}

_HINTS: Mapping[ColumnType, str] = {
    "string": "",
    "integer": "",
    "float": "",
    "datetime": " (a datetime is ISO 8601 text such as 2024-01-31 or 2024-01-31T08:30:00Z)",
    "boolean": " (a boolean is true, false, 1 or 0)",
}
