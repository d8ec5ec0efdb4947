"""Single values, as JSON and callers have them, in the types that columns have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import numpy as np
import polars as pl

__all__ = ["as_column", "fits", "from_iso", "integer_range", "is_utf8"]


def fits(value: object, dtype: pl.DataType) -> bool:
    """Whether a value is one of a column's: missing, a number for numbers, ISO 8601 text for dates, a list for lists.

    Nothing is turned into something else that loses what it was: 5.0 is no integer, and 1 no boolean.

    Example:
        >>> fits(5, pl.Float32()), fits(True, pl.Float32()), fits(300, pl.Int8()), fits([1, None], pl.List(pl.Int64))
        (True, False, False, True)
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None:
        return True
    if dtype == pl.Boolean:
        return isinstance(value, bool)
    if dtype.is_integer():
        least, most = integer_range(dtype)
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    if dtype.is_float():
        return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1023)
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return isinstance(value, str) and is_utf8(value) and _is_category(value, dtype)
    if isinstance(dtype, pl.List | pl.Array):
        inner: pl.DataType = dtype.inner  # type: ignore[assignment]
        size = dtype.size if isinstance(dtype, pl.Array) else None
        return isinstance(value, list | tuple) and size in (None, len(value)) and all(fits(entry, inner) for entry in value)
    if isinstance(value, str) and isinstance(dtype, pl.Date | pl.Datetime | pl.Time):
        try:
            from_iso("", [value], dtype)
        except ValueError:
            return False
        return True
    return not (dtype.is_temporal() and isinstance(value, bool | int | float | list | tuple))


def as_column(name: str, values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    """Values, all of which fit, as a column of this type.

    Raises:
        TypeError: Or ValueError, OverflowError, PolarsError: of a type that `fits` knows nothing of, if polars can't make it.
    """
    plain = [value.tolist() if isinstance(value, np.generic | np.ndarray) else value for value in values]
    if dtype.is_float():
        return pl.Series(name, plain, dtype=pl.Float64, strict=False).cast(dtype)
    if dtype.is_temporal():
        plain = [from_iso("", [value], dtype)[0] if isinstance(value, str) else value for value in plain]
    return pl.Series(name, plain, dtype=dtype, strict=not dtype.is_nested())


def integer_range(dtype: pl.DataType) -> tuple[int, int]:
    """The least and the largest number of a type of integers.

    Example:
        >>> integer_range(pl.Int8()), integer_range(pl.UInt16())
        ((-128, 127), (0, 65535))
    """
    bits = int("".join(sign for sign in str(dtype) if sign.isdigit()))
    return (0, 2**bits - 1) if dtype.is_unsigned_integer() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def from_iso(name: str, values: Sequence[str | None], dtype: pl.DataType) -> pl.Series:
    """ISO text as a column of dates, datetimes or times of the day; without a zone it is UTC.

    Args:
        name: Of the column.
        values: None stays missing.
        dtype: Of the column.

    Raises:
        ValueError: If a text is none, or the type is another.

    Example:
        >>> from_iso("at", ["2026-01-01T02:00:00+02:00", "2026-01-02", None], pl.Datetime("ms")).to_list()
        [datetime.datetime(2026, 1, 1, 0, 0), datetime.datetime(2026, 1, 2, 0, 0), None]
    """
    if isinstance(dtype, pl.Datetime):
        moments = pl.Series(name, [None if value is None else _utc(value) for value in values], dtype=pl.Datetime("us", "UTC"))
        zone = dtype.time_zone
        found = moments.dt.replace_time_zone(None) if zone is None else moments.dt.convert_time_zone(zone)
        return found.dt.cast_time_unit(dtype.time_unit)
    if dtype == pl.Date:
        return pl.Series(name, [None if value is None else date.fromisoformat(value) for value in values], dtype=dtype)
    if dtype == pl.Time:
        return pl.Series(name, [None if value is None else time.fromisoformat(value) for value in values], dtype=dtype)
    raise ValueError(f"{dtype} has no text")


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def is_utf8(text: str) -> bool:
    """Whether a text is one that can be written: JSON's escapes can spell half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_category(text: str, dtype: pl.DataType) -> bool:
    return not isinstance(dtype, pl.Enum) or text in dtype.categories
