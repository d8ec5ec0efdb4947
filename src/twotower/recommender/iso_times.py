"""Dates and times as JSON has them: ISO 8601."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import polars as pl

__all__ = ["from_iso"]


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
