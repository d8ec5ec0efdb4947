"""From what a caller knows of a user to the columns that the query tower reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import polars as pl
import torch

from twotower.errors import ConfigError, DataError, nearest
from twotower.preprocessing.timestamp import to_seconds
from twotower.types import Ragged

__all__ = ["FeatureRows", "RequestDefaults", "given_frame", "join_rows", "request_frame"]

FeatureRows = pl.DataFrame | Sequence[Mapping[str, object]]
"""One row, or one mapping, per request: raw values by column."""

_TEXT = (pl.String, pl.Categorical, pl.Enum)


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
        """Read them off the train rows (one row per interaction, or per user).

        The median of integers is the upper one, so that it is an integer; of equally frequent values the first in order is
        taken. A column of another type (lists, dates), or without a value, has no default.

        Example:
            >>> frame = pl.DataFrame({"age": [20, 30, 50, 60], "city": ["b", "a", "b", None], "at": [5, 9, 7, 8]})
            >>> RequestDefaults.from_train(frame, ["age", "city", "at"], time_column="at").values
            {'age': 50, 'city': 'b', 'at': 9}
        """
        values: dict[str, object] = {}
        for name in columns:
            column = frame[name].drop_nulls()
            if column.dtype.is_float():
                column = column.drop_nans()
            if column.is_empty():
                continue
            if name == time_column:
                values[name] = column.max()
            elif column.dtype.is_float():
                values[name] = column.median()
            elif column.dtype.is_integer():
                values[name] = int(column.sort()[len(column) // 2])
            elif column.dtype == pl.Boolean:
                values[name] = column.mode().sort()[0]
            elif column.dtype in _TEXT:
                values[name] = column.mode().cast(pl.String).sort()[0]
        return cls(time_column if time_column in values else None, values)


def given_frame(features: FeatureRows, size: int, *, columns: Collection[str], id_column: str) -> pl.DataFrame:
    """What requests give, as a frame of one row per request.

    Args:
        features: As a caller gives them.
        size: How many requests there are.
        columns: What is stored of a user, the id among it.
        id_column: The user's id, which is not a feature that a request can give.

    Raises:
        ConfigError: If a feature is given that the query does not read.
        DataError: If the number of rows, or a value, does not fit.
    """
    given = features if isinstance(features, pl.DataFrame) else _rows_frame(features)
    if given.height != size:
        raise DataError(f"features must have one row per request; came {given.height} rows for {size} requests")
    readable = [name for name in columns if name != id_column]
    faults = [
        f"features: {name!r} is the user's id; give it in users"
        if name == id_column
        else f"features: the query does not read {name!r}{nearest(name, readable)}"
        for name in given.columns
        if name not in readable
    ]
    if faults:
        raise ConfigError(faults)
    return given


def request_frame(
    known: pl.DataFrame,
    given: pl.DataFrame | None,
    defaults: RequestDefaults,
    *,
    strict_columns: Sequence[str],
    together: Collection[tuple[str, ...]] = (),
) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Put together what is stored, what the request gives and what must be assumed.

    Args:
        known: Stored raw columns, nulls where nothing is known, ``n`` rows.
        given: What the request gives, ``n`` rows, columns of ``known``; a value wins over the stored one, a null does not.
        defaults: For columns that allow no missing values.
        strict_columns: Columns that are filled with their default; the others' features say themselves what a missing value
            means.
        together: Columns that mean something together only (longitude and latitude): where a request gives some of them, the
            stored values of the others are not used.

    Returns:
        The frame to encode; and by strict column that has a default, where it was assumed, bool ``[n]``.

    Raises:
        DataError: If a value's type does not fit.
    """
    frame = known
    if given is not None:
        given = given.with_columns(_seconds(given[name]) for name in given.columns if name == defaults.time_column)
        frame = frame.with_columns(_given_or_known(given[name], known[name]) for name in given.columns)
        for group in together:
            frame = frame.with_columns(_only_given(frame, given, group))
    assumed: dict[str, pl.Series] = {}
    for name in strict_columns:
        if name not in defaults.values:
            continue
        column = frame[name]
        if column.dtype.is_float():
            column = column.fill_nan(None)
        assumed[name] = column.is_null()
        if column.null_count():
            dtype = pl.String() if column.dtype in _TEXT else column.dtype
            column = column.cast(dtype)
            frame = frame.with_columns(column.zip_with(column.is_not_null(), pl.Series([defaults.values[name]], dtype=dtype)))
    return frame, assumed


def _rows_frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    if isinstance(rows, Mapping):
        raise DataError(f"features must be a list with one mapping per request; came a single one: write [{dict(rows)!r}]")
    wrong = next((row for row in rows if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise DataError(f"features must be a polars data frame, or a list of mappings; an entry came as {wrong!r}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    unnamed = [name for name in names if not isinstance(name, str)]
    if unnamed:
        raise ConfigError(f"features: names must be text; came {unnamed[0]!r}")
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if {type(value) for value in values} - {type(None)} == {int, float}:
            values = [None if value is None else float(value) for value in values]  # type: ignore[arg-type]
        try:
            columns[name] = pl.Series(name, values, strict=True)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise DataError(f"features: column {name!r} must hold values of one type; came {values[:5]!r} ({error})") from None
    return pl.DataFrame(columns) if columns else pl.DataFrame(height=len(rows))


def _seconds(given: pl.Series) -> pl.Series:
    """The time of a request as Unix seconds, as the tables' times are kept: dates and datetimes are converted."""
    return pl.Series(given.name, to_seconds(given, given.name)).fill_nan(None) if given.dtype.is_temporal() else given


def _given_or_known(given: pl.Series, known: pl.Series) -> pl.Series:
    """What the request gives, in its absence what is stored; in a type that holds both without a loss."""
    if given.dtype == pl.Null:
        return known
    try:
        if given.dtype.is_numeric() and known.dtype.is_numeric():
            whole = given.dtype.is_integer() or bool((given.drop_nulls() == given.drop_nulls().floor()).all())
            dtype = pl.Int64() if known.dtype.is_integer() and whole else pl.Float64()
            given, known = given.cast(dtype), known.cast(dtype)
        elif given.dtype in _TEXT and known.dtype in _TEXT:
            given, known = given.cast(pl.String), known.cast(pl.String)
        elif (given.dtype.is_nested() and known.dtype.is_nested()) or (given.dtype.is_temporal() and known.dtype.is_temporal()):
            given = given.cast(known.dtype)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"features: column {known.name!r} must be {known.dtype} as in train ({error})") from None
    if given.dtype != known.dtype:
        raise DataError(
            f"features: column {known.name!r} must be {known.dtype} as in train; came {given.dtype} "
            f"({given.drop_nulls().head(1).to_list()})"
        )
    return given.zip_with(given.is_not_null(), known)


def _only_given(frame: pl.DataFrame, given: pl.DataFrame, group: tuple[str, ...]) -> list[pl.Series]:
    """Columns that belong together, without what is stored where a request gives one of them."""
    nothing = pl.repeat(False, frame.height, eager=True)
    there = {name: given[name].is_not_null() if name in given.columns else nothing for name in group}
    some = reduce(or_, there.values())
    return [frame[name].set(some & ~present, None) for name, present in there.items()]


def join_rows(*parts: Ragged) -> Ragged:
    """Ragged columns of the same number of rows, row by row one after the other.

    Example:
        >>> left = Ragged(torch.tensor([1, 2]), torch.tensor([0, 1, 2]))
        >>> right = Ragged(torch.tensor([7]), torch.tensor([0, 0, 1]))
        >>> joined = join_rows(left, right)
        >>> joined.values.tolist(), joined.offsets.tolist()
        ([1, 2, 7], [0, 1, 3])
    """
    rows = torch.cat([torch.repeat_interleave(torch.arange(part.num_rows), part.lengths) for part in parts])
    values = torch.cat([part.values.long() for part in parts])
    return Ragged(values[torch.argsort(rows, stable=True)], torch.stack([part.offsets for part in parts]).sum(dim=0))
