"""Recommendations for every row of a table: streamed, in parts that are kept, put together at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from twotower.errors import ConfigError, DataError, UnknownIdError, type_name
from twotower.recommender.batch_parts import open_parts
from twotower.recommender.recommender import Recommender
from twotower.types import Id

__all__ = ["BatchOptions", "BatchReport", "PartDone", "recommend_batch"]

_OWN = ("row", "rank", "score")
_MOST_REQUESTS, _MOST_ROWS = 2**16, 2**22


@dataclass(frozen=True)
class BatchOptions:
    """What every request of a table is asked with.

    Attributes:
        k: Items per request.
        exclude_seen: As of `Recommender.recommend`.
        exclude: As of `Recommender.recommend`.
        only: As of `Recommender.recommend`.
        history_column: A column of lists of item ids, the most recent last, that takes the place of the stored history where
            it is not null.
        on_unknown: A user of whom nothing is known, and of whom the row tells nothing, is an error, or gets no items.
        part_rows: Requests in a part of the output, which is kept once it is written. None: so many that it has at most four
            million recommendations, and at most 65,536.
        chunk_rows: Requests that are encoded and searched at a time.
    """

    k: int = 100
    exclude_seen: bool = True
    exclude: tuple[Id, ...] = ()
    only: tuple[Id, ...] | None = None
    history_column: str | None = None
    on_unknown: Literal["error", "skip"] = "error"
    part_rows: int | None = None
    chunk_rows: int = 2**12


@dataclass(frozen=True)
class PartDone:
    """A part of the output is there.

    Attributes:
        requests: How many rows of the input are answered so far, those of an earlier call among them.
        earlier: How many of them an earlier call had answered.
    """

    requests: int
    earlier: int


@dataclass(frozen=True)
class BatchReport:
    """What became of a table of requests.

    Attributes:
        requests: Rows of the input.
        earlier: How many of them an earlier call had answered.
        recommendations: Rows of the output.
        skipped: Requests without an answer, since nothing is known of the user.
        ignored_columns: Columns of the input that the query does not read.
    """

    requests: int
    earlier: int
    recommendations: int
    skipped: int
    ignored_columns: tuple[str, ...]


def recommend_batch(
    recommender: Recommender,
    requests: Iterable[pl.DataFrame],
    output: Path,
    options: BatchOptions,
    *,
    fingerprint: str,
    listener: Callable[[PartDone], None] = lambda _: None,
) -> BatchReport:
    """Recommend to every row of a table, and write one row for every recommended item.

    The output has the columns ``row`` (of the input, from 0), the user's id where the input has it, ``rank`` (from 1), the
    item's id and ``score``, in the order of the input. A file of that name is replaced when all of it is there. Parts that are
    done lie beside it until then: a call that was interrupted goes on behind them, if it is made with the same fingerprint.
    Only one call at a time can write an output.

    Args:
        recommender: What is asked.
        requests: The rows, some at a time; columns: the user's id (under the name that the training data had), features of the
            query, both optional. Others are passed over.
        output: ``.parquet`` or ``.csv``.
        options: What is asked.
        fingerprint: Of whatever the answers depend on besides the options: the bundle and the input.
        listener: Told after every part.

    Raises:
        ConfigError: If the output is of another kind, or a folder, or an option is out of range.
        DataError: If a column has the wrong type.
        BundleError: If the output can't be written, or another call is writing it.
        UnknownIdError: If a user is unknown, nothing else is known of the row, and that is to be an error.
    """
    _require(options, output)
    k = min(options.k, len(recommender.catalogue))
    part_rows = options.part_rows or max(1, min(_MOST_REQUESTS, _MOST_ROWS // k))
    options = replace(options, k=k, part_rows=part_rows)
    with open_parts(output, _fingerprint(fingerprint, options)) as parts:
        earlier = parts.requests
        answered, skipped = 0, parts.skipped
        ignored: tuple[str, ...] = ()
        for frame in _parts_of(requests, part_rows):
            ignored = ignored or _ignored(recommender, frame, options)
            first = answered
            answered += frame.height
            if answered <= earlier:
                continue
            if options.history_column is not None:
                _require_lists(frame[options.history_column], first, recommender.items.kind)
            answer, without = _answered(recommender, frame, first, options)
            skipped += without
            parts.add(answer, requests=frame.height, skipped=without)
            listener(PartDone(answered, earlier))
        if answered == 0:
            raise DataError("the table of requests has no rows")
        recommendations = parts.join(output)
    return BatchReport(answered, min(earlier, answered), recommendations, skipped, tuple(ignored))


def _require(options: BatchOptions, output: Path) -> None:
    faults = []
    if output.suffix not in (".parquet", ".csv"):
        faults.append(f"output: must end in .parquet or .csv; came {output.name}")
    elif output.is_dir():
        faults.append(f"output: must be a file; {output} is a folder")
    for name in ("k", "part_rows", "chunk_rows"):
        value = getattr(options, name)
        if value is not None and value < 1:
            faults.append(f"{name}: must be at least 1; came {value}")
    if faults:
        raise ConfigError(faults)


def _fingerprint(given: str, options: BatchOptions) -> str:
    return hashlib.sha256(f"{given} {options!r}".encode()).hexdigest()


def _parts_of(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """The same rows, so many at a time."""
    waiting: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        start = 0
        while rows + frame.height - start >= size:
            stop = start + size - rows
            yield _joined([*waiting, frame[start:stop]])
            waiting, rows, start = [], 0, stop
        if start < frame.height:
            waiting.append(frame[start:])
            rows += frame.height - start
    if rows:
        yield _joined(waiting)


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows one after the other. Numbers may be whole in one frame and not in the next."""
    names = frames[0].columns
    for frame in frames:
        if set(frame.columns) != set(names):
            raise DataError(
                f"all requests must have the same columns; came {', '.join(names)}, and then {', '.join(frame.columns)}"
            )
    frames = [frame.select(names) for frame in frames]
    for name in names:
        came = {frame.schema[name]: None for frame in frames}
        if len(came) > 1 and all(dtype.is_numeric() for dtype in came):
            frames = [frame.with_columns(pl.col(name).cast(pl.Float64)) for frame in frames]
        elif len(came) > 1:
            raise DataError(
                f"column {name!r} of the requests must have one type; came {', and then '.join(map(type_name, came))}"
            )
    return pl.concat(frames)


def _require_lists(column: pl.Series, first: int, kind: str) -> None:
    """Refuse what would be taken for a history with nothing in it, or letter by letter."""
    inner = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else None
    if isinstance(inner, pl.Struct):  # events, whose other fields the recommender looks at
        items = {field.name: field.dtype for field in inner.fields}.get("item")
        if items is None:
            raise DataError(f"column {column.name!r} of the requests holds lists of events, which must have a field 'item'")
        inner = items() if isinstance(items, type) else items
    ids = inner in (pl.String, pl.Categorical, pl.Enum) if kind == "text" else inner is not None and inner.is_integer()
    must = f"column {column.name!r} of the requests must hold lists of item ids, which are {kind}"
    if not ids and inner != pl.Null and column.null_count() < len(column):
        row = int(column.is_not_null().arg_true()[0])
        hint = "; files of text have no lists: use Parquet" if column.dtype == pl.String else ""
        raise DataError(
            f"{must}; it is {type_name(column.dtype)}, and row {first + row} holds {column[row : row + 1].to_list()[0]!r}{hint}"
        )
    if inner is not None:
        lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        missing = lists.list.eval(pl.element().is_null()).list.any().fill_null(value=False)
        if missing.any():
            raise DataError(f"{must}; one in row {first + int(missing.arg_true()[0])} is missing")


def _known_columns(recommender: Recommender, options: BatchOptions) -> tuple[str, list[str]]:
    table = recommender.users.table
    return table.id_column, [name for name in table.frame.columns if name not in (table.id_column, options.history_column)]


def _ignored(recommender: Recommender, frame: pl.DataFrame, options: BatchOptions) -> tuple[str, ...]:
    own, features = _known_columns(recommender, options)
    if options.history_column is not None and options.history_column not in frame.columns:
        raise ConfigError(f"history_column: no {options.history_column!r} among {', '.join(frame.columns)}")
    known = {own, options.history_column, *features}
    if not known & set(frame.columns):
        raise DataError(
            f"the table of requests has none of the columns that tell who asks: {', '.join([own, *features])}; "
            f"it has {', '.join(frame.columns)}"
        )
    return tuple(name for name in frame.columns if name not in known)


def _answered(recommender: Recommender, frame: pl.DataFrame, first: int, options: BatchOptions) -> tuple[pl.DataFrame, int]:
    """The answers to a part, and how many requests have none."""
    own, columns = _known_columns(recommender, options)
    present = [name for name in columns if name in frame.columns]
    answers, skipped = [], 0
    for start in range(0, frame.height, options.chunk_rows):
        rows = frame[start : start + options.chunk_rows]
        numbers = np.arange(first + start, first + start + rows.height)
        asked = _told(recommender, rows, present, options)
        if not asked.all():
            if options.on_unknown == "error":
                row = int(np.flatnonzero(~asked)[0])
                who = rows[own][row] if own in rows.columns else None
                raise UnknownIdError(
                    f"row {numbers[row]} of the requests: user {who!r} is unknown, and nothing else is known; give features or "
                    "a history, or have such rows skipped"
                )
            skipped += int((~asked).sum())
            rows, numbers = rows.filter(pl.Series(asked)), numbers[asked]
        if rows.height:
            answers.append(_searched(recommender, rows, numbers, present, options))
    empty = _searched(recommender, frame[:0], np.arange(0), present, options)
    return pl.concat([empty, *answers]), skipped


def _told(recommender: Recommender, rows: pl.DataFrame, features: list[str], options: BatchOptions) -> np.ndarray:
    """Whether anything is known of who asks."""
    own = recommender.users.table.id_column
    told = np.zeros(rows.height, dtype=bool)
    if own in rows.columns:
        told |= (recommender.users.rows(rows[own].to_list()) >= 0).numpy()
    for name in [*features, *([options.history_column] if options.history_column else [])]:
        told |= rows[name].is_not_null().to_numpy()
    return told


def _searched(
    recommender: Recommender, rows: pl.DataFrame, numbers: np.ndarray, features: list[str], options: BatchOptions
) -> pl.DataFrame:
    own, catalogue = recommender.users.table.id_column, recommender.catalogue
    users = rows[own].to_list() if own in rows.columns else None
    histories = rows[options.history_column].to_list() if options.history_column else None
    if rows.height:
        found = recommender.search(
            users,
            features=rows.select(features) if features else None,
            histories=histories,
            k=options.k,
            exclude_seen=options.exclude_seen,
            exclude=options.exclude,
            only=options.only,
        )
        rows_BK, scores_BK = found.rows_BK.numpy(), found.scores_BK.numpy()
    else:
        rows_BK, scores_BK = np.empty((0, 1), np.int64), np.empty((0, 1), np.float32)
    there_BK = rows_BK >= 0
    queries, places = np.nonzero(there_BK)
    item = catalogue.id_column if catalogue.id_column not in (*_OWN, own) else f"item_{catalogue.id_column}"
    user = own if own not in _OWN else f"user_{own}"
    columns = {"row": pl.Series(numbers[queries], dtype=pl.Int64)}
    if users is not None:
        columns[user] = rows[own].gather(queries)
    columns["rank"] = pl.Series(places + 1, dtype=pl.Int32)
    columns[item] = catalogue.ids.gather(rows_BK[there_BK])
    columns["score"] = pl.Series(scores_BK[there_BK], dtype=pl.Float32)
    return pl.DataFrame(columns)
