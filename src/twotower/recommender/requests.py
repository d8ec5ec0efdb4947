"""From what a caller knows of a user to the columns that the query tower reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from twotower.data import HistoryInput
from twotower.errors import ConfigError, DataError, nearest
from twotower.preprocessing import Preprocessor
from twotower.types import Column, Id, Ragged, gather_slices

__all__ = ["FeatureRows", "RequestDefaults", "as_history", "query_columns", "request_frame"]

FeatureRows = pl.DataFrame | Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class RequestDefaults:
    """What stands in for a value that a request does not give.

    Attributes:
        time_column: The column of times, if the query reads it.
        values: By column: the end of train for the time, the median or the most frequent value of train for the rest.
    """

    time_column: str | None
    values: Mapping[str, object]

    @classmethod
    def from_train(cls, frame: pl.DataFrame, columns: Sequence[str], *, time_column: str | None) -> RequestDefaults:
        """Read them off the train rows (one row per interaction, or per user)."""
        values: dict[str, object] = {}
        for name in columns:
            column = frame[name].drop_nulls()
            if column.is_empty():
                continue
            if name == time_column:
                values[name] = column.max()
            elif column.dtype.is_float():
                values[name] = column.drop_nans().median()
            elif column.dtype.is_integer():
                values[name] = int(column.sort()[len(column) // 2])
            elif column.dtype in (pl.String, pl.Boolean):
                values[name] = column.mode().sort()[0]
        return cls(time_column if time_column in values else None, values)


def request_frame(
    known: pl.DataFrame, features: FeatureRows | None, defaults: RequestDefaults, strict_columns: Sequence[str]
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Put together what is stored, what the request gives and what must be assumed.

    Args:
        known: Stored raw columns, nulls where nothing is known, ``n`` rows.
        features: What the request gives, ``n`` rows; its values win over stored ones.
        defaults: For columns that allow no missing values.
        strict_columns: Those columns.

    Returns:
        The frame to encode, and what was assumed in any row.

    Raises:
        ConfigError: If a feature is given that the query does not read.
        DataError: If the number of rows or a value's type does not fit.
    """
    frame = known
    if features is not None:
        given = features if isinstance(features, pl.DataFrame) else _rows_frame(features)
        if given.height != known.height:
            raise DataError(f"features must have one row per request; came {given.height} rows for {known.height} requests")
        unknown = [name for name in given.columns if name not in known.columns]
        if unknown:
            raise ConfigError([f"features: the query does not read {name!r}{nearest(name, known.columns)}" for name in unknown])
        frame = frame.with_columns(_given_or_known(given[name], known[name]) for name in given.columns)
    assumed: dict[str, object] = {}
    for name in strict_columns:
        if name in defaults.values and frame[name].null_count():
            assumed[name] = defaults.values[name]
            frame = frame.with_columns(pl.col(name).fill_null(pl.lit(defaults.values[name], dtype=frame[name].dtype)))
    return frame, assumed


def _rows_frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pl.Series(name, values, strict=True)
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise DataError(f"features: column {name!r} must hold values of one type; came {values!r} ({error})") from None
    return pl.DataFrame(columns) if columns else pl.DataFrame(height=len(rows))


def _given_or_known(given: pl.Series, known: pl.Series) -> pl.Series:
    if given.dtype != known.dtype:
        numeric = known.dtype.is_numeric() and (given.dtype.is_numeric() or given.dtype == pl.Null)
        if not numeric and given.dtype != pl.Null:
            came = f"{given.dtype} ({given.to_list()[0]!r})"
            raise DataError(f"features: column {known.name!r} must be {known.dtype} as in train; came {came}")
        given = given.cast(known.dtype)
    return pl.select(pl.coalesce(pl.lit(given), pl.lit(known)).alias(known.name)).to_series() if len(given) else given


def query_columns(
    preprocessor: Preprocessor, frame: pl.DataFrame, history_inputs: Sequence[HistoryInput], histories: Ragged
) -> dict[str, Column]:
    """Encode requests: the query tower's columns.

    Args:
        preprocessor: As fitted.
        frame: One row per request, every raw column that the query reads.
        history_inputs: The query's history features.
        histories: Catalogue rows of each request, the most recent last.
    """
    columns = preprocessor.encode_users(frame) | preprocessor.encode_context(frame)
    for entry in history_inputs:
        latest = histories
        if entry.max_length is not None:
            latest = _latest(histories, entry.max_length)
        columns[entry.name] = Ragged(entry.lookup[latest.values.long()], latest.offsets)
    return columns


def _latest(histories: Ragged, max_length: int) -> Ragged:
    lengths = histories.lengths.clamp(max=max_length)
    return gather_slices(histories.values, histories.offsets[1:] - lengths, lengths)


def as_history(items: Sequence[Id]) -> list[Id]:
    """A history as a list of ids; a bare string is an error, since it would be taken letter by letter."""
    if isinstance(items, str | bytes):
        raise DataError(f"a history must be a list of item ids; came the single value {items!r}")
    return list(items)
