"""When something happened: buckets of time, standardised time, hour of the day, day of the week."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.floats import moments, to_floats
from twotower.preprocessing.missing import require_present
from twotower.spec import FloatsColumn, RowsColumn

__all__ = ["FittedTimestamp", "TimestampFeature", "to_seconds"]

_DAY_S = 86_400
_YEAR_5000_S = 95_617_584_000


class TimestampFeature(ColumnFeature):
    """A time (Unix seconds, or dates and datetimes; without a zone they are UTC), as one column per choice; at least one.

    Attributes:
        num_edges: ``{name}.bucket``: rows of buckets with edges at ``np.linspace(first, last, num_edges)`` of train.
        standardise: ``{name}.standardised``: the time minus its mean, divided by its standard deviation (zeros if all equal).
        hour_of_day: ``{name}.hour``: sine and cosine of the time of the day in UTC, to the second, a day being a turn.
        day_of_week: ``{name}.weekday``: sine and cosine of the day in UTC, Monday at angle 0, a week being a turn.
    """

    kind: Literal["timestamp"] = "timestamp"
    num_edges: int | None = Field(default=None, ge=2)
    standardise: bool = False
    hour_of_day: bool = False
    day_of_week: bool = False

    @model_validator(mode="after")
    def _at_least_one(self) -> TimestampFeature:
        if self.num_edges is None and not (self.standardise or self.hour_of_day or self.day_of_week):
            raise ValueError("choose at least one of num_edges, standardise, hour_of_day and day_of_week")
        return self

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedTimestamp:
        """Find range, mean and standard deviation of the train rows.

        Args:
            column: Times, ``[n]``; none may be missing.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If the column holds no times, or none, or misses one, or if they seem to be milliseconds.
        """
        seconds = to_seconds(column, self.column)
        require_present(np.isnan(seconds), self.column, "leave out the rows without a time")
        found = moments(seconds, counts, self.column)
        if found.maximum > _YEAR_5000_S:
            raise DataError(
                f"column {self.column!r} must hold Unix seconds; {found.maximum:.0f} is after the year 5000: milliseconds?"
            )
        return FittedTimestamp(config=self, minimum=found.minimum, maximum=found.maximum, mean=found.mean, std=found.std)


class FittedTimestamp(Config):
    """A timestamp feature and the moments of train, in Unix seconds.

    Attributes:
        minimum: First time of train.
        maximum: Last time of train; it stands in for a missing time.
        mean: Of the times.
        std: Standard deviation of the times, ``ddof = 0``.

    Example:
        >>> fitted = TimestampFeature(column="time", num_edges=3).fit(pl.Series([0, 100]))
        >>> fitted.encode(pl.Series([-5, 0, 49, 50, 100, None]))["time.bucket"].tolist()
        [1, 1, 1, 2, 3, 3]
    """

    kind: Literal["timestamp"] = "timestamp"
    config: TimestampFeature
    minimum: float
    maximum: float
    mean: float
    std: float = Field(ge=0)

    @property
    def columns(self) -> tuple[RowsColumn | FloatsColumn, ...]:
        """A column per choice, in the order bucket, standardised, hour, weekday."""
        name, chosen = self.config.output_name, self.config
        columns: list[RowsColumn | FloatsColumn] = []
        if chosen.num_edges is not None:
            columns.append(RowsColumn(name=f"{name}.bucket", vocabulary_size=chosen.num_edges + 1))
        if chosen.standardise:
            columns.append(FloatsColumn(name=f"{name}.standardised", width=1))
        if chosen.hour_of_day:
            columns.append(FloatsColumn(name=f"{name}.hour", width=2))
        if chosen.day_of_week:
            columns.append(FloatsColumn(name=f"{name}.weekday", width=2))
        return tuple(columns)

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Rows int32 ``[n]`` and floats float32 ``[n, width]``.

        Buckets and standardised time are clipped to the range of train; the hour and the weekday go on after its end.
        A missing time is the end of train.

        Raises:
            DataError: If the column holds no times.
        """
        seconds = to_seconds(column, self.config.column)
        seconds = np.where(np.isnan(seconds), self.maximum, seconds)
        clipped = np.clip(seconds, self.minimum, self.maximum)
        name, chosen = self.config.output_name, self.config
        encoded: dict[str, Tensor] = {}
        if chosen.num_edges is not None:
            edges = np.linspace(self.minimum, self.maximum, chosen.num_edges)
            encoded[f"{name}.bucket"] = torch.from_numpy(np.searchsorted(edges, clipped, side="right").astype(np.int32))
        if chosen.standardise:
            standardised = (clipped - self.mean) / self.std if self.std > 0 else np.zeros_like(clipped)
            encoded[f"{name}.standardised"] = torch.from_numpy(standardised.astype(np.float32)[:, None])
        if chosen.hour_of_day:
            encoded[f"{name}.hour"] = _turn(np.mod(seconds, _DAY_S) / _DAY_S)
        if chosen.day_of_week:
            thursday = 3  # 1970-01-01, counted from Monday
            encoded[f"{name}.weekday"] = _turn(np.mod(np.floor(seconds / _DAY_S) + thursday, 7) / 7)
        return encoded


def to_seconds(column: pl.Series, name: str) -> NDArray[np.float64]:
    """Unix seconds of a column of numbers (seconds already), dates or datetimes, float64 ``[n]``; NaN where missing.

    Raises:
        DataError: If the column holds anything else, or infinity.

    Example:
        >>> from datetime import date
        >>> to_seconds(pl.Series([date(1970, 1, 2), None]), "time").tolist()
        [86400.0, nan]
    """
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return to_floats(column.dt.epoch("us"), name) / 1e6
    return to_floats(column, name)


def _turn(fraction: NDArray[np.float64]) -> Tensor:
    """Sine and cosine of a fraction of a turn, float32 ``[n, 2]``."""
    angle = 2 * np.pi * fraction
    return torch.from_numpy(np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32))
