"""One pass over a source, each wanted column into files of its own; memory holds a batch and the dictionaries."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower.columnar.column_writers import ColumnWriter, InferredWriter, column_writer, dictionary_of
from twotower.columnar.manifest import FORMAT_VERSION, MANIFEST, ColumnEntry, Manifest
from twotower.columnar.progress import ConversionClock
from twotower.data.bad_rows import BadRows, SkippedRows
from twotower.data.fill import require_filled_columns
from twotower.data.source_files import SourceFile
from twotower.data.table import TableConfig, no_rows
from twotower.data.table_batches import TableBatch, read_batches
from twotower.data.text_file import BLOCK_BYTES
from twotower.errors import TableReadError, nearest

__all__ = ["convert", "require_wanted", "write_manifest"]


@dataclass(frozen=True)
class _Pass:
    """What one pass over the source found."""

    rows: int
    all_columns: tuple[str, ...]
    writers: dict[str, ColumnWriter]
    skipped: SkippedRows


def convert(
    files: list[SourceFile],
    config: TableConfig,
    folder: Path,
    *,
    key: str,
    wanted: Collection[str] | None,
    noun: str,
    clock: ConversionClock,
    block_bytes: int = BLOCK_BYTES,
    text: Collection[str] = (),
    may_be_empty: bool = False,
) -> Manifest:
    """Write the columns of a source, and at the end the manifest.

    Columns of text files whose type is not declared are taken for numbers until they are seen not to be; those that turn out to
    be text are read again in a second pass.

    Args:
        files: The source.
        config: How it is read.
        folder: An empty folder.
        key: What the table is known by.
        wanted: Columns to write; None: all.
        noun: What the table is called in an error.
        clock: Is told how far the work is.
        block_bytes: Bytes of text in memory at a time.
        text: Columns that are text, whatever they look like.
        may_be_empty: The files are a part of a source, which need not have rows.

    Raises:
        TableReadError: If the source can't be read, has no rows, or lacks a wanted column.
    """
    start = time.monotonic()
    name = f"{noun} {config.path}"
    source_bytes = sum(file.size for file in files)
    with ExitStack() as opened:

        def read(wanted: Collection[str] | None, text: Collection[str], done: int) -> _Pass:
            bad_rows = BadRows(config.on_bad_rows)
            batches = read_batches(
                files, config.text_format, config.types, noun=noun, bad_rows=bad_rows, block_bytes=block_bytes, wanted=wanted
            )
            make = _Writers(files, config, folder, wanted, text, f"{noun} {files[0].name}", opened)
            with closing(batches):
                return _write(batches, make, bad_rows, clock, done)

        first = read(wanted, text, 0)
        if not first.rows and not may_be_empty:
            raise TableReadError(no_rows(name, first.all_columns, first.skipped))
        turned = [column for column, writer in first.writers.items() if isinstance(writer, InferredWriter) and writer.turned]
        writers = dict(first.writers)
        if turned:
            clock.bytes_total += source_bytes
            writers |= read(turned, [*text, *turned], source_bytes).writers
        entries = [writer.finish(config.fill.get(column), noun=name) for column, writer in writers.items()]
    clock.tell(first.rows, clock.bytes_total, last=True)
    return write_manifest(
        folder,
        files,
        key=key,
        rows=first.rows,
        all_columns=first.all_columns,
        columns=entries,
        skipped=first.skipped,
        began=start,
    )


def write_manifest(
    folder: Path,
    files: Sequence[SourceFile],
    *,
    key: str,
    rows: int,
    all_columns: Sequence[str],
    columns: Sequence[ColumnEntry],
    skipped: SkippedRows,
    began: float,
) -> Manifest:
    """Say what a folder holds, at the end of a conversion.

    Args:
        folder: Where the columns are.
        files: The source.
        key: What the table is known by.
        rows: Of every column.
        all_columns: Columns of the source, in its order.
        columns: Those that are stored, in that order.
        skipped: Rows that were left out.
        began: When the conversion did, by the monotonic clock.
    """
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        key=key,
        source=", ".join([files[0].name, *(["..."] if len(files) > 1 else [])]),
        rows=rows,
        all_columns=tuple(all_columns),
        columns=tuple(columns),
        skipped=skipped,
        source_bytes=sum(file.size for file in files),
        written=time.time(),
        seconds=time.monotonic() - began,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest


def require_wanted(wanted: Collection[str], columns: Sequence[str], separator: str | None, *, noun: str) -> None:
    """Check that a table has the columns that are read.

    Args:
        wanted: Names that must be there.
        columns: Names that are.
        separator: As declared, for the message.
        noun: What the table is called in an error.

    Raises:
        TableReadError: Naming every one that is missing, with the nearest that exists.
    """
    missing = [f"no column {name!r}{nearest(name, columns)}" for name in wanted if name not in columns]
    if missing and len(columns) == 1 and (sign := next((s for s in ";\t|," if s in columns[0] and s != separator), None)):
        raise TableReadError(
            f"{noun}: no column {', '.join(map(repr, wanted))}, but one column {columns[0]!r}; if its separator is {sign!r}, "
            f"declare separator = {sign!r}"
        )
    if missing:
        raise TableReadError(f"{noun}: {' | '.join(missing)}")


@dataclass(frozen=True)
class _Writers:
    """Makes the writers of a pass, once the columns are known."""

    files: list[SourceFile]
    config: TableConfig
    folder: Path
    wanted: Collection[str] | None
    text: Collection[str]
    where: str
    opened: ExitStack

    def __call__(self, schema: pl.Schema) -> dict[str, ColumnWriter]:
        require_wanted(self.wanted or (), schema.names(), self.config.separator, noun=self.where)
        require_filled_columns(self.config.fill, schema.names(), noun=self.where)
        infer = any(file.kind == "text" for file in self.files)
        writers: dict[str, ColumnWriter] = {}
        for place, (column, dtype) in enumerate(schema.items()):
            if self.wanted is not None and column not in self.wanted:
                continue
            stem = f"{place:04d}"
            guess = infer and dtype == pl.String and column not in self.config.types and column not in self.text
            make = InferredWriter(column, self.folder, stem) if guess else column_writer(column, dtype, self.folder, stem)
            writers[column] = make
            self.opened.callback(make.close)
        return writers


def _write(
    batches: Generator[TableBatch, None, None], make_writers: _Writers, bad_rows: BadRows, clock: ConversionClock, done: int
) -> _Pass:
    """One pass; `done` are the bytes of earlier ones."""
    writers: dict[str, ColumnWriter] | None = None
    columns: tuple[str, ...] = ()
    rows = 0
    for batch in batches:
        if writers is None:
            columns = tuple(batch.frame.columns)
            writers = make_writers(batch.frame.schema)
        if not batch.frame.height:
            continue
        rows += batch.frame.height
        _append(writers, batch.frame)
        clock.tell(rows, done + batch.bytes_read)
    return _Pass(rows, columns, writers or {}, bad_rows.skipped())


def _append(writers: dict[str, ColumnWriter], frame: pl.DataFrame) -> None:
    dictionaries = {name: dtype for name, writer in writers.items() if (dtype := dictionary_of(writer)) is not None}
    # together, so that the columns are coded at the same time
    coded = frame.select(pl.col(name).cast(dtype) for name, dtype in dictionaries.items())
    for name, writer in writers.items():
        writer.append(coded[name] if name in dictionaries else frame[name])
