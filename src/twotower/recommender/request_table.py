"""A table of requests: who asks, in files of any size, or all users that a bundle knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower.data.bad_rows import BadRows
from twotower.data.column_types import ColumnType, declare_types
from twotower.data.first_record import TextFormat
from twotower.data.source_files import SourceFile, find_files
from twotower.data.table_batches import read_batches
from twotower.errors import TableReadError
from twotower.recommender.bundled import bundle_folder
from twotower.recommender.recommender import Recommender

__all__ = ["RequestTable", "all_users", "request_table"]

_AT_ONCE = 2**16
_NOUN = "requests"
_WORDS: dict[ColumnType, str] = {"integer": "whole numbers", "float": "numbers", "boolean": "true or false", "string": "text"}


@dataclass(frozen=True)
class RequestTable:
    """Rows that ask.

    Attributes:
        frames: The rows, some at a time; it can be gone through once.
        fingerprint: Another one where the rows, or the bundle that answers, are others.
        size: How many rows there are; None where that is not known beforehand.
        paths: The files of this machine that they are read from.
    """

    frames: Iterator[pl.DataFrame]
    fingerprint: str
    size: int | None
    paths: tuple[Path, ...] = ()


def all_users(run: Path, recommender: Recommender) -> RequestTable:
    """Every user that the bundle knows, in its order.

    Args:
        run: The run folder, or the bundle.
        recommender: What was loaded from it.
    """
    ids = recommender.users.table.ids
    frames = (ids[start : start + _AT_ONCE].to_frame() for start in range(0, len(ids), _AT_ONCE))
    return RequestTable(frames, _fingerprint(run, []), len(ids))


def request_table(source: str | Path, run: Path, recommender: Recommender) -> RequestTable:
    """The rows of files, read while they are answered.

    Columns that the query reads become text, numbers or truth values as they were in training. Numbers may have a fraction
    where those of training were whole, and what a Parquet file has as dates stays so. Times of files of text are Unix seconds.

    Args:
        source: File, folder, glob or URL, of CSV or Parquet.
        run: The run folder, or the bundle.
        recommender: What was loaded from it.

    Raises:
        TableReadError: If there is no such file. One that is damaged, or has a value of another type, is told as it comes.
    """
    files = find_files(source, noun=_NOUN)
    paths = tuple(Path(file.path) for file in files if file.store is None)
    return RequestTable(_frames(files, recommender), _fingerprint(run, files), None, paths)


def _frames(files: list[SourceFile], recommender: Recommender) -> Iterator[pl.DataFrame]:
    form = TextFormat(None, True, None, '"', False)
    known, rows = recommender.users.table, 0
    kinds = {name: kind for name, dtype in known.frame.schema.items() if (kind := _kind(dtype)) is not None}
    for batch in read_batches(files, form, {}, noun=_NOUN, bad_rows=BadRows("error")):
        frame = batch.frame
        if frame.height:
            columns = [name for name in frame.columns if name in kinds]
            yield frame.with_columns(_typed(frame[name], kinds[name], rows, recommender) for name in columns)
        rows += frame.height


def _typed(column: pl.Series, kind: ColumnType, first: int, recommender: Recommender) -> pl.Series:
    """A column as `Recommender.recommend` takes it; the first row is number ``first``."""
    of_users = column.name == recommender.users.table.id_column
    if kind in ("integer", "float") and not of_users:
        if column.dtype.is_decimal():
            column = column.cast(pl.Float64)
        if column.dtype.is_numeric() or column.dtype.is_temporal():
            return column  # the recommender knows what to do with these
        if kind == "integer" and column.dtype == pl.String:
            whole = column.cast(pl.Int64, strict=False)
            kind = "integer" if whole.null_count() == column.null_count() else "float"
    seconds = " (a time in Unix seconds)" if column.name == recommender.defaults.time_column else ""

    def refuse(row: int, name: str, _: str) -> None:
        raise TableReadError(
            f"row {first + row} of the requests: column {name!r} must hold {_WORDS[kind]}{seconds}, as in training; "
            f"came {column[row : row + 1].to_list()[0]!r}"
        )

    typed, _ = declare_types(column.to_frame(), {column.name: kind}, noun=_NOUN, locate=str, on_fault=refuse)
    return typed.to_series()


def _kind(dtype: pl.DataType) -> ColumnType | None:
    if dtype.is_integer():
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype == pl.Boolean:
        return "boolean"
    return "string" if dtype in (pl.String, pl.Categorical, pl.Enum) else None


def _fingerprint(run: Path, files: list[SourceFile]) -> str:
    known = hashlib.sha256((bundle_folder(run) / "manifest.json").read_bytes())
    for file in files:
        known.update(repr((file.name, file.size, file.stamp)).encode())
    return known.hexdigest()
