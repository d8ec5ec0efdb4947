"""The rows of a source, file by file and batch by batch, with declared types and without bad rows."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.bad_rows import BadRows
from twotower.data.column_types import ColumnType, declare_types
from twotower.data.first_record import TextFormat
from twotower.data.parquet_file import parquet_schema, read_parquet_batches
from twotower.data.source_files import SourceFile
from twotower.data.text_file import BLOCK_BYTES, open_text_file
from twotower.errors import TableReadError

__all__ = ["TableBatch", "declare_batch", "read_batches"]


@dataclass(frozen=True)
class TableBatch:
    """Rows that follow one another.

    Attributes:
        frame: Declared columns have their type; the others of text files are still text. The first batch of a source has all
            its columns, the others may lack those that are not wanted.
        bytes_read: Bytes of the source that were read so far.
    """

    frame: pl.DataFrame
    bytes_read: int


def read_batches(
    files: list[SourceFile],
    form: TextFormat,
    types: Mapping[str, ColumnType],
    *,
    noun: str,
    bad_rows: BadRows,
    block_bytes: int = BLOCK_BYTES,
    wanted: Collection[str] | None = None,
    heads: bool = False,
) -> Generator[TableBatch, None, None]:
    """Read a source in the order of its files.

    Args:
        files: At least one.
        form: How those of text are written.
        types: Declared types by column.
        noun: What the table is called in an error.
        bad_rows: Stops at a bad row, or counts it.
        block_bytes: Bytes of text in memory at a time.
        wanted: Columns that are needed; None: all. In files of text the values of the others are not looked at, so that they
            may be of any type. Where bad rows are skipped all columns are read, so that it does not depend on the wanted ones
            which rows remain.
        heads: Only what files say of their columns is read, and no rows.

    Yields:
        At least one batch, with the columns of the first file in every one; it may be empty.

    Raises:
        TableReadError: If a file can't be read, or the files disagree on a column or a type.
    """
    parquet = [file for file in files if file.kind == "parquet"]
    if len(parquet) > 1:
        # their types are known before hours of reading
        schemas = [(file, parquet_schema(file, noun=noun)) for file in parquet]
        for file, schema in schemas[1:]:
            _require_same(schemas[0], file, schema, noun)
    done = 0
    first: tuple[SourceFile, pl.Schema] | None = None
    read = wanted if bad_rows.policy == "error" else None
    for place, file in enumerate(files):
        if heads and file.kind == "parquet":
            continue  # looked at above
        found = _batches_of(file, place, form, noun, bad_rows, block_bytes, read)
        for raw, rows, bytes_read in islice(found, 1) if heads else found:
            first = first or (file, raw.schema)
            names, declared = first[1].names(), types
            if file.kind == "text" and bytes_read:  # what an opened file gives first has all its columns, and no rows
                names = [name for name in names if name in raw.columns]
                declared = {name: kind for name, kind in types.items() if name in raw.columns}
            else:
                _require_same(first, file, raw.schema, noun)
            frame = declare_batch(raw.select(names), declared, file, place, rows, noun=noun, bad_rows=bad_rows)
            yield TableBatch(frame, done + bytes_read)
        found.close()
        done += file.size


def declare_batch(
    raw: pl.DataFrame,
    types: Mapping[str, ColumnType],
    file: SourceFile | None,
    place: int,
    rows: NDArray[np.int64],
    *,
    noun: str,
    bad_rows: BadRows,
) -> pl.DataFrame:
    """Give a batch its declared types, without the rows that hold another one.

    Args:
        raw: The batch.
        types: Declared types by column.
        file: Where it comes from; None: a data frame.
        place: Of the file in its source.
        rows: int64 ``[n]``, numbers of its rows in the file.
        noun: What the table is called in an error.
        bad_rows: Stops at a bad row, or counts it.
    """
    name = file.name if file else "the data frame"

    def locate(row: int) -> str:
        return f"data row {rows[row]} (counted from 0)"

    def on_fault(row: int, column: str, sentence: str) -> None:
        bad_rows.refuse(sentence)
        text = ",".join("" if value is None else str(value) for value in raw.row(row))
        bad_rows.add(file=place, name=name, row=int(rows[row]), reason="value of another type", column=column, text=text)

    frame, right = declare_types(raw, types, noun=f"{noun} {name}" if file else noun, locate=locate, on_fault=on_fault)
    return frame if right is None else frame.filter(right)


def _batches_of(
    file: SourceFile,
    place: int,
    form: TextFormat,
    noun: str,
    bad_rows: BadRows,
    block_bytes: int,
    wanted: Collection[str] | None,
) -> Generator[tuple[pl.DataFrame, NDArray[np.int64], int], None, None]:
    if file.kind == "text":
        opened = open_text_file(file, place, form, noun=noun, bad_rows=bad_rows, block_bytes=block_bytes, wanted=wanted)
        with opened as text:
            yield pl.DataFrame(schema=dict.fromkeys(text.columns, pl.String)), np.zeros(0, dtype=np.int64), 0
            for batch in text.batches:
                yield batch.frame, batch.rows, batch.bytes_read
        return
    row = 0
    for frame, bytes_read in read_parquet_batches(file, noun=noun):
        yield frame, np.arange(row, row + frame.height), bytes_read
        row += frame.height


def _require_same(first: tuple[SourceFile, pl.Schema], file: SourceFile, schema: pl.Schema, noun: str) -> None:
    file_0, schema_0 = first
    if set(schema) != set(schema_0):
        odd = sorted(set(schema) ^ set(schema_0))
        raise TableReadError(
            f"{noun}: {file_0.name} and {file.name} must have the same columns; only one has: {', '.join(odd)}"
        )
    for name, dtype in schema_0.items():
        if schema[name] != dtype:
            raise TableReadError(
                f"{noun}: column {name!r} must have one type, but is {dtype} in {file_0.name} and {schema[name]} in "
                f"{file.name}; write the files with one schema"
            )
