"""Types of columns: declared by the caller, or told from text without ever losing a digit."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import polars as pl

from twotower.errors import TableReadError, nearest

__all__ = ["ColumnType", "declare_types", "infer_numbers", "infer_types"]

ColumnType: TypeAlias = Literal["string", "integer", "float", "float32", "datetime", "boolean"]
"""A type that a column can be declared to have.

A float has 64 bits, or 32 where that is declared. A datetime is ISO 8601 text; without an offset it is UTC.
"""

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


def infer_numbers(column: pl.Series) -> pl.Series | None:
    """The numbers that a column of text, or a part of one, holds: by the rule of `infer_types`.

    Returns:
        Int64 or Float64; None where they must stay text. A column without any value is Int64: nothing speaks against it.

    Example:
        >>> infer_numbers(pl.Series(["1", None])).dtype, infer_numbers(pl.Series(["007"]))
        (Int64, None)
    """
    if column.dtype != pl.String or not column.str.contains(_NUMBER).all():
        return None
    whole = column.str.contains(_WHOLE)
    if whole.any() and column.filter(whole).cast(pl.Int64, strict=False).null_count():
        return None  # more digits than 64 bits hold: as Float64 two ids could become one
    return column.cast(pl.Int64) if whole.all() else column.cast(pl.Float64)


def _inferred(column: pl.Series) -> pl.Series:
    numbers = infer_numbers(column) if column.null_count() < len(column) else None
    return column if numbers is None else numbers


def declare_types(
    frame: pl.DataFrame,
    types: Mapping[str, ColumnType],
    *,
    noun: str,
    locate: Callable[[int], str],
    on_fault: Callable[[int, str, str], None] | None = None,
) -> tuple[pl.DataFrame, pl.Series | None]:
    """Give columns their declared types.

    Args:
        frame: Any frame.
        types: Declared type by name of column.
        noun: What the table is called in an error.
        locate: From a row number to words such as ``"data row 3 (counted from 0) of ratings.csv"``.
        on_fault: Called for every row that holds a value of another type, with its row number, the first column in which it
            does, and the sentence about it; None: the first such row is an error.

    Returns:
        The frame with String, Int64, Float64, Float32, ``Datetime("us")`` (naive, UTC) or Boolean columns where declared; and
        which rows are right, as booleans (None: all of them).

    Raises:
        TableReadError: If a declared column is missing, or a value is not of its type; names the column, the row and the value.
    """
    for name in types:
        if name not in frame.columns:
            raise TableReadError(f"{noun}: no column {name!r}, which `types` declares{nearest(name, frame.columns)}")
    # text that is to be text is what it should be
    declared = [
        name for name, dtype in frame.schema.items() if name in types and (types[name], dtype) != ("string", pl.String())
    ]
    converted = frame.with_columns(_converted(frame[name], types[name]).alias(name) for name in declared)
    faults: dict[int, str] = {}
    for name in declared:
        if converted[name].null_count() > frame[name].null_count():
            for row in (converted[name].is_null() & frame[name].is_not_null()).arg_true().to_list():
                faults.setdefault(row, name)
    for row in sorted(faults):
        name = faults[row]
        sentence = (
            f"{noun}: column {name!r} is declared {types[name]}, but {locate(row)} holds {_shown(frame[name][row])}; correct "
            f"the value, declare another type{_HINTS[types[name]]}"
        )
        if on_fault is None:
            raise TableReadError(sentence)
        on_fault(row, name, sentence)
    if not faults:
        return converted, None
    right = pl.Series("right", [True]).new_from_index(0, frame.height)
    return converted, right.scatter(sorted(faults), False)


def _converted(column: pl.Series, kind: ColumnType) -> pl.Series:
    """A column in a declared type, null where a value is not of that type."""
    if column.dtype in (pl.Categorical, pl.Enum, pl.Binary):
        column = _text(column)
    other = column.dtype.is_nested() or column.dtype in (pl.Object, pl.Duration)
    if other or (column.dtype.is_temporal() and kind in ("integer", "float", "float32")):
        return pl.Series(column.name, [None], dtype=_DTYPES[kind]).new_from_index(0, len(column))
    return _CONVERSIONS[kind](column)


def _text(column: pl.Series) -> pl.Series:
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:  # bytes, and one of them is no UTF-8: polars does not say which
        return pl.Series(column.name, [_decoded(value) for value in column], dtype=pl.String)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _shown(value: object) -> str:
    if isinstance(value, pl.Series):
        value = value.to_list()
    return reprlib.repr(value) if isinstance(value, list | dict) else repr(value)


def _to_string(column: pl.Series) -> pl.Series:
    return column.cast(pl.String, strict=False)


def _to_integer(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        whole = column.is_finite() & (column == column.round())
        column = column.to_frame("x").select(pl.when(whole).then(pl.col("x"))).to_series()
    if column.dtype.is_decimal():
        column = column.to_frame("x").select(pl.when(pl.col("x") % 1 == 0).then(pl.col("x"))).to_series()
    return column.cast(pl.Int64, strict=False)


def _to_float(column: pl.Series) -> pl.Series:
    return column.cast(pl.Float64, strict=False)


def _to_float32(column: pl.Series) -> pl.Series:
    # through 64 bits, so that what is a number does not depend on how many bits it is kept in
    return _to_float(column).cast(pl.Float32)


def _to_datetime(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if isinstance(column.dtype, pl.Datetime):
        zoned = column.dtype.time_zone is not None
        utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else column
        return utc.cast(pl.Datetime("us"))
    if column.dtype != pl.String:
        return pl.Series(column.name, [None], dtype=pl.Datetime("us")).new_from_index(0, len(column))
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


_CONVERSIONS: Mapping[ColumnType, Callable[[pl.Series], pl.Series]] = {
    "string": _to_string,
    "integer": _to_integer,
    "float": _to_float,
    "float32": _to_float32,
    "datetime": _to_datetime,
    "boolean": _to_boolean,
}

_DTYPES: Mapping[ColumnType, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "float32": pl.Float32(),
    "datetime": pl.Datetime("us"),
    "boolean": pl.Boolean(),
}

_HINTS: Mapping[ColumnType, str] = {
    "string": "",
    "integer": "",
    "float": "",
    "float32": "",
    "datetime": " (a datetime is ISO 8601 text such as 2024-01-31 or 2024-01-31T08:30:00Z)",
    "boolean": " (a boolean is true, false, 1 or 0)",
}
