"""Conditions on the catalogue's columns: which items a request allows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import polars as pl

from twotower.errors import ConfigError, DataError, nearest, type_name
from twotower.recommender.column_values import from_iso, integer_range

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
    one value must be among those asked for (of ``{"not": ...}``, none). A range includes its ends; of text, it is one of the
    order of its characters. A number is compared as the column keeps it: 0.1 is the value that a column of 32 bits has for it.
    Dates and times are asked for in ISO 8601.

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
    _require_mapping(where)
    found = pl.repeat(True, frame.height, eager=True)
    for name, condition in where.items():
        if name not in frame.columns:
            raise ConfigError(f"where: no column {name!r} in the catalogue{nearest(str(name), frame.columns)}")
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
    _require_mapping(where)
    names = [*where, *(name for condition in where.values() if isinstance(condition, Mapping) for name in condition)]
    wrong = [name for name in names if not isinstance(name, str)]  # as JSON, the number 1 and the text "1" would be one
    if wrong:
        raise ConfigError(f"where: names must be text; came {wrong[0]!r}")
    try:
        return json.dumps(dict(where), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"where: a condition must be of text, finite numbers and booleans ({error})") from None


def _require_mapping(where: object) -> None:
    if not isinstance(where, Mapping):
        raise ConfigError(f"where: must be a mapping of columns to conditions; came {where!r}")


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
    met = column.is_not_null()
    column = column.cast(_compared(column.dtype))
    for side, bound in condition.items():
        _require_fit([bound], name, column.dtype)
        met &= _beyond(column, name, side, bound)
    met = met.fill_null(False)
    return met & column.is_not_nan() if column.dtype.is_float() else met


def _beyond(column: pl.Series, name: str, side: str, bound: object) -> pl.Series:
    """Which values are not less (``min``), or not more (``max``), than a bound of their kind; null where there is none."""
    dtype = column.dtype
    if dtype.is_integer():
        number = cast(int | float, bound)
        whole = math.ceil(number) if side == "min" else math.floor(number)
        least, most = integer_range(dtype)
        if not least <= whole <= most:
            return pl.repeat((whole < least) is (side == "min"), len(column), eager=True)
        limit = pl.Series(name, [whole], dtype=dtype)[0]
    else:
        limits = _typed([bound], name, dtype)
        if dtype.is_float() and not limits.is_finite().all():  # more than the column's type can hold
            column, limits = column.cast(pl.Float64), _typed([bound], name, pl.Float64())
        limit = limits[0]
    met: pl.Series = (column >= limit) if side == "min" else (column <= limit)
    return met


def _among(column: pl.Series, name: str, asked: object) -> pl.Series:
    values = list(asked) if isinstance(asked, list | tuple) else [asked]
    if isinstance(column.dtype, pl.List | pl.Array):
        lists = column if isinstance(column.dtype, pl.List) else column.arr.to_list()
        inner = _compared(cast(pl.List, lists.dtype).inner)  # type: ignore[arg-type]
        _require_fit(values, name, inner)
        wanted = _typed(values, name, inner).implode()
        met = lists.cast(pl.List(inner)).to_frame("c").select(pl.col("c").list.eval(pl.element().is_in(wanted)).list.any())["c"]
    else:
        column = column.cast(_compared(column.dtype))
        _require_fit(values, name, column.dtype)
        met = column.is_in(_typed(values, name, column.dtype).implode())
    return met.fill_null(False)


def _compared(dtype: pl.DataType) -> pl.DataType:
    """The type that a column is compared in: text for what keeps text as numbers."""
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        return pl.String()
    return pl.Float64() if dtype.is_decimal() else dtype


def _require_fit(values: Sequence[object], name: str, dtype: pl.DataType) -> None:
    """Refuse values that are not of a column's kind: numbers for numbers, text for text and for dates."""
    textual = dtype == pl.String or isinstance(dtype, pl.Date | pl.Datetime | pl.Time)
    if not textual and not dtype.is_numeric() and dtype != pl.Boolean:
        raise DataError(f"where: column {name!r} holds {type_name(dtype)}, which can't be asked for")
    for value in values:
        fits = (
            (dtype.is_numeric() and isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value))
            or (dtype == pl.Boolean and isinstance(value, bool))
            or (textual and isinstance(value, str))
        )
        if not fits:
            raise DataError(f"where: column {name!r} holds {type_name(dtype)}; came {value!r}")


def _is_finite(value: int | float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _typed(values: Sequence[object], name: str, dtype: pl.DataType) -> pl.Series:
    """Values as the column has them; whole numbers that it can't hold are left out, for it holds none of them."""
    try:
        if dtype.is_integer():
            least, most = integer_range(dtype)
            numbers = [int(value) for value in cast("list[int | float]", values) if value == int(value)]
            return pl.Series(name, [number for number in numbers if least <= number <= most], dtype=dtype)
        if dtype.is_float():
            return pl.Series(name, [float(value) for value in cast("list[int | float]", values)], dtype=pl.Float64).cast(dtype)
        if dtype.is_temporal():
            return from_iso(name, cast("list[str]", values), dtype)
        return pl.Series(name, values, dtype=dtype)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"where: column {name!r} holds {type_name(dtype)}; came {list(values)!r} ({error})") from None
