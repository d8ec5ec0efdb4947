"""Conditions on the catalogue's columns: which items a request allows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import polars as pl

from twotower.errors import ConfigError, DataError, nearest, type_name

__all__ = ["Condition", "Where", "key_of", "matching"]

Scalar: TypeAlias = str | int | float | bool
Condition: TypeAlias = Scalar | Sequence[Scalar] | Mapping[str, "Scalar | Sequence[Scalar]"]
"""A value, a list of values of which one must be there, a range ``{"min": 1990, "max": 1999}``, or ``{"not": ...}``."""

Where: TypeAlias = Mapping[str, Condition]
"""A condition by column; all must hold."""

_RANGE = {"min", "max"}


def matching(frame: pl.DataFrame, where: Where, *, separators: Mapping[str, str] | None = None) -> pl.Series:
    """Which rows of a table meet all conditions, bool ``[n]``.

    A missing value meets no condition, ``{"not": ...}`` excepted. Of a column of lists, and of text that holds several values,
    one value must be among those asked for (of ``{"not": ...}``, none). A range includes its ends.

    Args:
        frame: The table.
        where: Conditions by column; none: every row.
        separators: For columns of text such as ``"Action|Drama"``, what stands between the values.

    Raises:
        ConfigError: If a column does not exist, or a condition is none.
        DataError: If a value is not of the column's type.

    Example:
        >>> frame = pl.DataFrame({"year": [1990, 2000, None], "genres": ["Drama", "Drama|War", "War"]})
        >>> matching(frame, {"year": {"min": 1995}, "genres": "War"}, separators={"genres": "|"}).to_list()
        [False, True, False]
        >>> matching(frame, {"genres": {"not": ["War", "Western"]}}, separators={"genres": "|"}).to_list()
        [True, False, False]
    """
    found = pl.repeat(True, frame.height, eager=True)
    for name, condition in where.items():
        if name not in frame.columns:
            raise ConfigError(f"where: no column {name!r} in the catalogue{nearest(name, frame.columns)}")
        column = frame[name]
        separator = (separators or {}).get(name)
        if separator is not None and column.dtype == pl.String:
            column = column.str.split(separator).list.eval(pl.element().str.strip_chars())
        found &= _meets(column, name, condition)
    return found


def key_of(where: Where) -> str:
    """A text that is the same for the same conditions.

    Raises:
        ConfigError: If a condition is no plain value.
    """
    try:
        return json.dumps(where, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"where: a condition must be of text, finite numbers and booleans ({error})") from None


def _meets(column: pl.Series, name: str, condition: Condition) -> pl.Series:
    if not isinstance(condition, Mapping):
        return _among(column, name, condition)
    keys = set(condition)
    if keys == {"not"}:
        negated = condition["not"]
        if isinstance(negated, Mapping):
            raise ConfigError(f"where: {name!r}: 'not' takes a value or a list of values; came {dict(negated)!r}")
        return ~_among(column, name, negated)
    if not keys or keys - _RANGE:
        raise ConfigError(
            f"where: {name!r}: a condition is a value, a list of values, or has min, max or not; came {dict(condition)!r}"
        )
    if column.dtype.is_nested() or column.dtype == pl.Boolean:
        raise ConfigError(f"where: {name!r} is {type_name(column.dtype)}, which has no order: ask for values")
    met = pl.repeat(True, len(column), eager=True)
    for side, bound in condition.items():
        limit = _typed([bound], name, column.dtype)[0]
        met &= (column >= limit) if side == "min" else (column <= limit)
    met = met.fill_null(False)
    return met & column.is_not_nan() if column.dtype.is_float() else met


def _among(column: pl.Series, name: str, asked: object) -> pl.Series:
    values = list(asked) if isinstance(asked, list | tuple) else [asked]
    dtype = column.dtype
    if isinstance(dtype, pl.List | pl.Array):
        wanted = _typed(values, name, dtype.inner)  # type: ignore[arg-type]
        lists = column if isinstance(dtype, pl.List) else column.arr.to_list()
        met = lists.to_frame("c").select(pl.col("c").list.eval(pl.element().is_in(wanted.implode())).list.any())["c"]
    else:
        met = column.is_in(_typed(values, name, dtype).implode())
    return met.fill_null(False)


def _typed(values: Sequence[object], name: str, dtype: pl.DataType) -> pl.Series:
    """Values as the column has them: numbers for numbers, text for text, ISO dates for dates."""
    numeric = dtype.is_numeric()
    for value in values:
        fits = (
            (numeric and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
            or (dtype == pl.Boolean and isinstance(value, bool))
            or (not numeric and dtype != pl.Boolean and isinstance(value, str))
        )
        if not fits:
            raise DataError(f"where: column {name!r} holds {type_name(dtype)}; came {value!r}")
    try:
        if numeric:
            whole = all(isinstance(value, int) for value in values)
            return pl.Series(name, values, dtype=pl.Int64 if whole else pl.Float64, strict=True)
        if dtype.is_temporal():
            return pl.Series(name, values, dtype=pl.String).cast(dtype)
        return pl.Series(name, values, dtype=pl.Boolean if dtype == pl.Boolean else pl.String)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"where: column {name!r} holds {type_name(dtype)}; came {list(values)!r} ({error})") from None
