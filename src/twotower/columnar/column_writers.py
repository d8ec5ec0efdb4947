"""Which writer a column gets, and the column of which it is not known before the end."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]

from twotower.columnar.manifest import ColumnEntry
from twotower.columnar.number_writer import BooleanWriter, NumberWriter
from twotower.columnar.text_writer import TextWriter
from twotower.data.column_types import infer_numbers
from twotower.data.fill import FillValue, fill_value, missing_dtype

__all__ = ["ColumnWriter", "InferredWriter", "column_writer", "dictionary_of"]


_PLAIN = (
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
    pl.Float32,
    pl.Float64,
)


class ColumnWriter(Protocol):
    """Takes a column batch by batch."""

    name: str

    def append(self, column: pl.Series) -> None:
        """Write a batch."""

    def close(self) -> None:
        """Close the files, as where the conversion fails."""

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Close the files, and say what they hold."""


class InferredWriter:
    """A column of text that becomes numbers where nothing can be lost by it: by the rule of `infer_types`, over all rows.

    It is taken for numbers as long as it looks like them. Where it then turns out to be text, `turned` says so; what it held
    before is not there any more as it was written, so the source has to be read again for it.

    Args:
        name: The column.
        folder: Where the files are written.
        stem: Start of their names.
    """

    def __init__(self, name: str, folder: Path, stem: str) -> None:
        self.name, self.folder, self.stem = name, folder, stem
        self.turned = False
        self._missing = 0
        self.writer: TextWriter | NumberWriter | None = None

    def append(self, column: pl.Series) -> None:
        """Write a batch of text."""
        if self.turned:
            return
        if self.writer is None:
            if column.null_count() == len(column):
                self._missing += len(column)
                return
            numbers = infer_numbers(column)
            self.writer = (
                TextWriter(self.name, self.folder, self.stem)
                if numbers is None
                else NumberWriter(self.name, numbers.dtype, self.folder, self.stem)
            )
            self.writer.append_missing(self._missing)
        if isinstance(self.writer, TextWriter):
            self.writer.append(column)
        else:
            self._append_numbers(self.writer, column)

    def _append_numbers(self, writer: NumberWriter, column: pl.Series) -> None:
        numbers = infer_numbers(column)
        if numbers is None:
            self.turned = True
            writer.discard()
            return
        if numbers.dtype.is_float() and writer.dtype.is_integer():
            writer.widen()
        writer.append(numbers.cast(writer.dtype))

    def close(self) -> None:
        """Close the files, if there are any yet."""
        if self.writer is not None:
            self.writer.close()

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Close the files; a column without a single value takes the type of its fill, and else is text."""
        if self.writer is None:
            dtype = pl.String() if fill is None else missing_dtype(fill)
            writer = column_writer(self.name, dtype, self.folder, self.stem)
            writer.append(pl.Series(self.name, [None], dtype=dtype).new_from_index(0, self._missing))
            return writer.finish(fill, noun=noun)
        return self.writer.finish(fill, noun=noun)


class NullWriter:
    """A column of the type Null, as Parquet has it: nothing to write, unless it is filled.

    Args:
        name: The column.
        folder: Where the files are written.
        stem: Start of their names.
    """

    def __init__(self, name: str, folder: Path, stem: str) -> None:
        self.name, self.folder, self.stem = name, folder, stem
        self.rows = 0

    def append(self, column: pl.Series) -> None:
        """Count a batch."""
        self.rows += len(column)

    def close(self) -> None:
        """Nothing to close."""

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Say how many rows there are, or fill them."""
        if fill is None:
            return ColumnEntry(name=self.name, kind="null", stem=self.stem, nulls=self.rows)
        writer = column_writer(self.name, missing_dtype(fill), self.folder, self.stem)
        writer.append(pl.Series(self.name, [None], dtype=missing_dtype(fill)).new_from_index(0, self.rows))
        return writer.finish(fill, noun=noun)


class ArrowWriter:
    """Whatever has no plain buffer of its own, lists for instance, as an Arrow file.

    Args:
        name: The column.
        dtype: Its type.
        folder: Where the file is written.
        stem: Start of its name.
    """

    def __init__(self, name: str, dtype: pl.DataType, folder: Path, stem: str) -> None:
        self.name, self.dtype, self.stem = name, dtype, stem
        self.path = folder / f"{stem}.arrow"
        self.nulls = 0
        schema = pl.Series(name, [], dtype=dtype).to_frame().to_arrow().schema
        self._file = self.path.open("xb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def append(self, column: pl.Series) -> None:
        """Write a batch."""
        self.nulls += column.null_count()
        self._writer.write_table(column.to_frame().to_arrow())

    def close(self) -> None:
        """Close the file."""
        if not self._file.closed:
            self._writer.close()
            self._file.close()

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Close the file.

        Raises:
            TableReadError: If a fill is declared: there is none for such a type.
        """
        self.close()
        if fill is not None:
            fill_value(fill, self.dtype, self.name, noun=noun)
        files = {self.path.name: self.path.stat().st_size}
        return ColumnEntry(name=self.name, kind="arrow", stem=self.stem, nulls=self.nulls, files=files)


def dictionary_of(writer: ColumnWriter) -> pl.Categorical | None:
    """The categorical type of a writer of text, in which it takes its batches as well; None: it writes no text, or not yet."""
    inner = writer.writer if isinstance(writer, InferredWriter) else writer
    return inner.dtype if isinstance(inner, TextWriter) else None


def column_writer(name: str, dtype: pl.DataType, folder: Path, stem: str) -> ColumnWriter:
    """The writer of a column whose type is known.

    Args:
        name: The column.
        dtype: Its type.
        folder: Where its files are written.
        stem: Start of their names.
    """
    if dtype == pl.String:
        return TextWriter(name, folder, stem)
    if dtype == pl.Boolean:
        return BooleanWriter(name, folder, stem)
    if dtype == pl.Null:
        return NullWriter(name, folder, stem)
    plain = (
        dtype.is_temporal()
        or dtype in (pl.Float32, pl.Float64)
        or (dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128))
    )
    return NumberWriter(name, dtype, folder, stem) if plain else ArrowWriter(name, dtype, folder, stem)
