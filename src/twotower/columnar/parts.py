"""A source of many files converted by several processes: each converts some of the files, and one puts them together."""

from __future__ import annotations

import platform
import shutil
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Protocol

import polars as pl

from twotower.columnar.column_writers import ColumnWriter, InferredWriter, column_writer
from twotower.columnar.convert import convert, write_manifest
from twotower.columnar.manifest import ColumnEntry, Manifest
from twotower.columnar.progress import ConversionClock, Converting
from twotower.columnar.stored_column import map_categories, map_codes, map_column, release_pages
from twotower.columnar.text_writer import TextWriter
from twotower.data.bad_rows import BadRows, SkippedRows
from twotower.data.fill import require_filled_columns
from twotower.data.parquet_file import parquet_schema
from twotower.data.source_files import SourceFile, find_files
from twotower.data.table import TableConfig, no_rows
from twotower.data.table_batches import read_batches
from twotower.errors import TableReadError, TwotowerError

__all__ = ["Divide", "PartDone", "PartJob", "convert_in_parts", "divide_files"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class PartDone:
    """What became of a part.

    Attributes:
        manifest: What was written; None where it failed.
        fault: Why it failed, as a sentence.
    """

    manifest: Manifest | None = None
    fault: str = ""


@dataclass(frozen=True)
class PartJob:
    """Some files of a source, to be converted by one process. It can be sent to others, who see the same files and folder.

    Attributes:
        config: How the source is read; missing values are not filled here.
        base_dir: Folder that a relative path starts from.
        noun: What the table is called in an error.
        first: Which of the source's files is the first of them.
        files: Names and bytes of the files.
        folder: Where it is written; it is made.
        wanted: Columns to write; None: all.
        text: Columns that are text in any case.
    """

    config: TableConfig
    base_dir: Path | None
    noun: str
    first: int
    files: tuple[tuple[str, int], ...]
    folder: Path
    wanted: tuple[str, ...] | None
    text: tuple[str, ...] = ()

    def run(self, listener: Callable[[Converting], None] | None = None, why: str = "") -> PartDone:
        """Convert; what goes wrong is told and not raised.

        Args:
            listener: Is told how far this part is.
            why: What it is told besides.
        """
        try:
            files = find_files(self.config.source(self.base_dir), noun=self.noun)[self.first : self.first + len(self.files)]
            if tuple((file.name, file.size) for file in files) != self.files:
                return PartDone(
                    fault=f"{self.noun} {self.config.path}: {platform.node()} sees other files there than the machine of rank "
                    "0: all have to see the same, and nobody may write to them meanwhile"
                )
            self.folder.mkdir()
            clock = ConversionClock(listener, sum(file.size for file in files), why)
            manifest = convert(
                files,
                self.config,
                self.folder,
                key="",
                wanted=self.wanted,
                noun=self.noun,
                clock=clock,
                text=self.text,
                may_be_empty=True,
            )
        except TwotowerError as error:
            return PartDone(fault=str(error))
        except OSError as error:
            return PartDone(fault=f"{self.noun}: its columns can't be written to {self.folder} ({error.strerror or error})")
        return PartDone(manifest)


class Divide(Protocol):
    """Processes that convert parts, this one among them."""

    def ready(self, folder: Path) -> int:
        """How many parts can be converted at a time, by processes that see a folder; 1 where one had better do it all."""

    def run(self, jobs: Sequence[PartJob | None], why: str) -> list[PartDone | None]:
        """Each process runs its job, of at most so many; what became of them, in the same order. The first is this one's."""


def divide_files(sizes: Sequence[int], parts: int) -> list[range]:
    """Files that follow one another, in at most so many parts of about as many bytes; none is empty.

    Args:
        sizes: Bytes of every file.
        parts: How many at most.

    Example:
        >>> divide_files([5, 5, 5, 5, 20], 3)
        [range(0, 3), range(3, 4), range(4, 5)]
        >>> divide_files([1, 1], 3)
        [range(0, 1), range(1, 2)]
    """
    parts, total = min(parts, len(sizes)), sum(sizes)
    middles = [before + size / 2 for before, size in zip(accumulate(sizes, initial=0), sizes, strict=False)]
    ends = [0]
    for part in range(1, parts):
        end = bisect_left(middles, total * part / parts)
        # every part before has a file, and every part behind gets one
        ends.append(min(max(end, ends[-1] + 1), len(sizes) - (parts - part)))
    return [range(start, end) for start, end in pairwise([*ends, len(sizes)])]


def convert_in_parts(
    files: list[SourceFile],
    config: TableConfig,
    folder: Path,
    *,
    key: str,
    wanted: Collection[str] | None,
    noun: str,
    base_dir: Path | None,
    clock: ConversionClock,
    divide: Divide,
    parts: int,
) -> Manifest:
    """Write the columns of a source as `convert` does, to the byte, with the help of other processes.

    A column that is numbers in some parts and text in others is read again where it was taken for numbers. Dictionaries of text
    are merged; so are counts of rows that were left out.

    Args:
        files: The source, all of one kind.
        config: How it is read.
        folder: An empty folder that all processes see.
        key: What the table is known by.
        wanted: Columns to write; None: all.
        noun: What the table is called in an error.
        base_dir: Folder that a relative path starts from.
        clock: Is told how far putting together is.
        divide: The processes.
        parts: How many at most, as `Divide.ready` says.

    Raises:
        TableReadError: As `convert`; of several parts with a fault, that of the first one.
    """
    start, name = time.monotonic(), f"{noun} {config.path}"
    groups = divide_files([file.size for file in files], parts)
    _require_alike(files, groups, config, noun)
    plain = config.model_copy(update={"fill": {}})
    columns = None if wanted is None else tuple(wanted)
    jobs = [
        PartJob(
            plain,
            base_dir,
            noun,
            group.start,
            tuple((file.name, file.size) for file in files[group.start : group.stop]),
            folder / f"part-{number}",
            columns,
        )
        for number, group in enumerate(groups)
    ]
    done = _done(divide, jobs, f"{clock.why}, in {len(jobs)} parts")
    all_columns, skipped = done[0].manifest.all_columns, _together([part.manifest.skipped for part in done])
    rows = sum(part.manifest.rows for part in done)
    if not rows:
        raise TableReadError(no_rows(name, all_columns, skipped))
    inferred = {column for column in all_columns if files[0].kind == "text" and column not in config.types}
    turned = {column for column in inferred if {part.kind(column) for part in done} >= {"text", "number"}}
    again = [tuple(sorted(column for column in turned if part.kind(column) == "number")) for part in done]
    if turned:
        redone = _done(
            divide,
            [
                replace(job, folder=folder / f"again-{number}", wanted=text, text=text) if text else None
                for number, (job, text) in enumerate(zip(jobs, again, strict=True))
            ],
            "read again: numbers that turned out to be text",
        )
        found = iter(redone)
        done = [part.with_columns_of(next(found)) if text else part for part, text in zip(done, again, strict=True)]
    with ExitStack() as opened:
        writers = _put_together(done, all_columns, inferred, folder, clock, opened)
        entries = [writer.finish(config.fill.get(column), noun=name) for column, writer in writers.items()]
    clock.tell(rows, clock.bytes_total, last=True)
    for path in {job.folder for job in jobs} | {path for part in done for path, _ in part.places.values()}:
        shutil.rmtree(path, ignore_errors=True)
    return write_manifest(
        folder, files, key=key, rows=rows, all_columns=all_columns, columns=entries, skipped=skipped, began=start
    )


@dataclass(frozen=True)
class _Part:
    """A part that was written: where each of its columns is."""

    manifest: Manifest
    places: dict[str, tuple[Path, ColumnEntry]]

    @staticmethod
    def of(folder: Path, manifest: Manifest) -> _Part:
        return _Part(manifest, {entry.name: (folder, entry) for entry in manifest.columns})

    def with_columns_of(self, other: _Part) -> _Part:
        return _Part(self.manifest, {**self.places, **other.places})

    def kind(self, column: str) -> str:
        """What it holds; ``missing`` where there is not one value, so that anything may follow from others."""
        if column not in self.places:
            return "missing"
        entry = self.places[column][1]
        return "missing" if entry.kind == "text" and not entry.categories else entry.kind

    def column(self, column: str) -> pl.Series:
        folder, entry = self.places[column]
        return map_column(folder, entry, self.manifest.rows)

    def codes(self, column: str) -> pl.Series:
        """The numbers of a column of text; nulls where there is nothing."""
        folder, entry = self.places[column]
        return map_codes(folder, entry, self.manifest.rows)

    def categories(self, column: str) -> pl.Series:
        """The distinct values of a column of text."""
        return map_categories(*self.places[column])


def _done(divide: Divide, jobs: Sequence[PartJob | None], why: str) -> list[_Part]:
    """What was written, without jobs that are none."""
    answers = divide.run(jobs, why)
    for answer in answers:
        if answer is not None and answer.manifest is None:
            raise TableReadError(answer.fault)
    return [
        _Part.of(job.folder, answer.manifest)
        for job, answer in zip(jobs, answers, strict=False)
        if job is not None and answer is not None and answer.manifest is not None
    ]


def _require_alike(files: list[SourceFile], groups: list[range], config: TableConfig, noun: str) -> None:
    """That all parts have the columns of the first one, and these what is filled; a part's other files it looks at itself."""
    if files[0].kind == "parquet":
        looked_at, columns = files, parquet_schema(files[0], noun=noun).names()
    else:
        looked_at, columns = [files[group.start] for group in groups], []
    for batch in read_batches(
        looked_at, config.text_format, config.types, noun=noun, bad_rows=BadRows(config.on_bad_rows), heads=True
    ):
        columns = columns or batch.frame.columns
    require_filled_columns(config.fill, columns, noun=f"{noun} {files[0].name}")


def _together(skipped: Sequence[SkippedRows]) -> SkippedRows:
    counts: dict[str, int] = {}
    for each in skipped:
        for reason, count in each.counts.items():
            counts[reason] = counts.get(reason, 0) + count
    first = [row for each in skipped for row in each.sample]
    return SkippedRows(counts=dict(sorted(counts.items())), sample=tuple(first[: BadRows.SAMPLE]))


def _put_together(
    parts: list[_Part],
    all_columns: Sequence[str],
    inferred: set[str],
    folder: Path,
    clock: ConversionClock,
    opened: ExitStack,
) -> dict[str, ColumnWriter]:
    parts = [part for part in parts if part.manifest.rows]
    places = {name: number for number, name in enumerate(all_columns)}
    names = sorted(parts[0].places, key=places.__getitem__)
    writers: dict[str, ColumnWriter] = {}
    dtypes = {name: _dtype(parts, name, inferred) for name in names}
    for name, dtype in dtypes.items():
        stem = f"{places[name]:04d}"
        writers[name] = InferredWriter(name, folder, stem) if dtype is None else column_writer(name, dtype, folder, stem)
        opened.callback(writers[name].close)
    total, rows = sum(part.manifest.rows for part in parts), 0
    for part in parts:
        for name, writer in writers.items():
            if part.kind(name) == "text" and isinstance(writer, TextWriter):
                writer.append_coded(_cut(part.codes(name)), part.categories(name))
            elif part.kind(name) == "arrow":
                for chunk in part.column(name).get_chunks():  # as they were written, so that they are written so again
                    writer.append(chunk)
            else:
                for chunk in _cut(part.column(name)):
                    writer.append(_as(chunk, dtypes[name]))
            release_pages()
        rows += part.manifest.rows
        clock.tell(rows, clock.bytes_total * rows // total)
    return writers


def _cut(column: pl.Series) -> Iterator[pl.Series]:
    return (column.slice(start, _CHUNK) for start in range(0, len(column), _CHUNK))


def _dtype(parts: list[_Part], name: str, inferred: set[str]) -> pl.DataType | None:
    """The type of a column in all parts; None where not one value is there to tell it by."""
    there = [part for part in parts if name not in inferred or part.kind(name) != "missing"]
    found = {pl.String() if part.places[name][1].kind == "text" else part.column(name).dtype for part in there}
    if found == {pl.Int64(), pl.Float64()} and name in inferred:
        return pl.Float64()
    return found.pop() if found else None


def _as(column: pl.Series, dtype: pl.DataType | None) -> pl.Series:
    if dtype is None or column.null_count() == len(column):
        return pl.Series(column.name, [None], dtype=dtype or pl.String()).new_from_index(0, len(column))
    if column.dtype == pl.Enum or column.dtype == dtype:
        return column
    return column.cast(dtype)
