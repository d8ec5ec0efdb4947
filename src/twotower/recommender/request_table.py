"""A table of requests: who asks, in files of any size, or all users that a bundle knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower.data.bad_rows import BadRows
from twotower.data.column_types import ColumnType
from twotower.data.first_record import TextFormat
from twotower.data.source_files import SourceFile, find_files
from twotower.data.table_batches import read_batches
from twotower.recommender.bundled import bundle_folder
from twotower.recommender.recommender import Recommender

__all__ = ["RequestTable", "all_users", "request_table"]

_AT_ONCE = 2**16
_NOUN = "requests"


@dataclass(frozen=True)
class RequestTable:
    """Rows that ask.

    Attributes:
        frames: The rows, some at a time; it can be gone through once.
        fingerprint: Another one where the rows, or the bundle that answers, are others.
        size: How many rows there are; None where that is not known beforehand.
    """

    frames: Iterator[pl.DataFrame]
    fingerprint: str
    size: int | None


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

    Columns that the query reads have the types that they had in training; of files of text the others stay text. Times of
    files of text are Unix seconds.

    Args:
        source: File, folder, glob or URL, of CSV or Parquet.
        run: The run folder, or the bundle.
        recommender: What was loaded from it.

    Raises:
        TableReadError: If there is no such file. One that is damaged, or has a value of another type, is told as it comes.
    """
    files = find_files(source, noun=_NOUN)
    return RequestTable(_frames(files, recommender), _fingerprint(run, files), None)


def _frames(files: list[SourceFile], recommender: Recommender) -> Iterator[pl.DataFrame]:
    form = TextFormat(None, True, None, '"', False)
    opened = read_batches(files, form, {}, noun=_NOUN, bad_rows=BadRows("error"))
    names = set(next(opened).frame.columns)
    opened.close()
    kinds = {name: _kind(dtype) for name, dtype in recommender.users.table.frame.schema.items() if name in names}
    types = {name: kind for name, kind in kinds.items() if kind is not None}
    for batch in read_batches(files, form, types, noun=_NOUN, bad_rows=BadRows("error")):
        if batch.frame.height:
            yield batch.frame


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
