"""One file of delimited text, read block by block as columns of text; every row must have as many fields as the first."""

from __future__ import annotations

import codecs
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
from numpy.typing import NDArray

from twotower.data.bad_rows import BadRows
from twotower.data.first_record import FirstRecord, TextFormat, read_first_record
from twotower.data.plain_blocks import PlainBlocks
from twotower.data.source_files import SourceFile
from twotower.data.text_stream import (
    BROKEN_MARK,
    CountedBytes,
    MarkedStream,
    as_broken_bytes,
    as_replaced_bytes,
    end_mark,
    unzipped,
)
from twotower.errors import TableReadError

__all__ = ["BLOCK_BYTES", "TextBatch", "TextFile", "open_text_file"]

BLOCK_BYTES = 4 << 20
_HEAD_BYTES = 1 << 20
_MOST_THREADS = 8
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class TextBatch:
    """Rows that follow one another in the file.

    Attributes:
        frame: Columns of text, those that are wanted; an empty field is null, quoted or not.
        rows: int64 ``[n]``, the data row in the file of each, from 0: skipped ones are counted too, blank lines are not.
        bytes_read: Bytes of the file that were read so far, as they lie on the disk.
    """

    frame: pl.DataFrame
    rows: NDArray[np.int64]
    bytes_read: int


@dataclass(frozen=True)
class TextFile:
    """An open text file.

    Attributes:
        columns: Names of its columns, in the order of the file, without the index column.
        batches: Its rows, to be read once.
    """

    columns: tuple[str, ...]
    batches: Iterator[TextBatch]


@contextmanager
def open_text_file(
    file: SourceFile,
    place: int,
    form: TextFormat,
    *,
    noun: str,
    bad_rows: BadRows,
    block_bytes: int = BLOCK_BYTES,
    wanted: Collection[str] | None = None,
) -> Iterator[TextFile]:
    """Open one CSV or TSV file, plain or gzip.

    Blank lines after the first are skipped, unless there is but one column: there they are nulls.

    Args:
        file: A file in UTF-8, with or without a byte-order mark.
        place: Its place among the files of the source, from 0.
        form: How it is written.
        noun: What the table is called in an error.
        bad_rows: Stops at a row with a wrong number of fields or with bytes that are not UTF-8, or counts it.
        block_bytes: Text in memory at a time; a record is no longer than this.
        wanted: Columns to read; the batches lack the others. None, or where the file has none of them: all.

    Raises:
        TableReadError: Here or while reading, if separator or quote is no ASCII character; if the file is empty, damaged gzip,
            badly quoted, names a column twice, or has bad rows that are not to be skipped.
    """
    where = f"{noun} {file.name}"
    separator = form.separator or ("\t" if ".tsv" in file.suffixes else ",")
    for role, sign in (("separator", separator), ("quote", form.quote)):
        if sign is not None and not sign.isascii():
            raise TableReadError(
                f"{where}: the {role} must be an ASCII character; came {sign!r}: write the file with another one"
            )
    with ExitStack() as opened:
        with _naming(where):
            counted = CountedBytes(opened.enter_context(file.open()))
            stream = unzipped(counted)
            head = _read_head(stream)
        first = read_first_record(head, form, separator, where)
        parser = _Parser(file.name, place, first, separator, form.quote, where, bad_rows, wanted)
        marked = MarkedStream(head, stream, parser.last_record)
        yield TextFile(first.names, parser.batches(marked, counted, block_bytes))


class _Parser:
    """Reads records block by block, and keeps the numbers of the rows."""

    def __init__(
        self,
        name: str,
        place: int,
        first: FirstRecord,
        separator: str,
        quote: str | None,
        where: str,
        bad_rows: BadRows,
        wanted: Collection[str] | None,
    ) -> None:
        self.name, self.place, self.where, self.width = name, place, where, first.width
        behind = first.width - len(first.names)  # an index column
        chosen = [each for each in first.names if wanted is None or each in wanted] or first.names
        self.fields = [f"f{i}" for i in range(self.width)]
        self.end_mark = end_mark(separator, quote)
        self.last_record = (self.end_mark + separator * (first.width - 1) + "\n").encode()
        self.names = {f"f{i + behind}": each for i, each in enumerate(first.names) if each in chosen}
        self.separator, self.quote, self.bad_rows = separator, quote, bad_rows
        self.headers = int(first.is_header)
        self.is_begun = False
        self.row = -1 if first.is_header and first.is_full else 0  # of the next record; the header is not counted
        self.rows_before = 0  # in the file, before what is parsed now
        self.wrong: list[int] = []  # rows with a wrong number of fields that are not behind us yet
        self.unclosed: int | None = None
        self.fault: str | None = None

    def batches(self, marked: MarkedStream, counted: CountedBytes, block_bytes: int) -> Iterator[TextBatch]:
        blocks = PlainBlocks(marked, self.quote, block_bytes)
        with _naming(self.where):
            for frame in self._side_by_side(blocks, marked, block_bytes):
                found = self._batch(frame, counted.count, broken=marked.broken)
                if self.wrong:  # those behind the last row that is right
                    self.row, self.wrong = self.wrong[-1] + 1, []
                if frame.height:
                    yield found
        if not marked.at_end or blocks.rest:
            marked.put_back(self._lines(blocks.rest) if self.is_begun else blocks.rest)
            yield from self._one_by_one(marked, counted, block_bytes)

    def _side_by_side(self, blocks: PlainBlocks, marked: MarkedStream, block_bytes: int) -> Iterator[pl.DataFrame]:
        """Blocks without a quote, several at a time, in their order."""
        threads = min(os.cpu_count() or 1, _MOST_THREADS)
        waiting: deque[tuple[bytes, Future[pl.DataFrame]]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="parse") as pool:
            for block in blocks:
                lines = self._lines(block.removesuffix(self.last_record) if marked.at_end else block)
                waiting.append((lines, pool.submit(self._parsed, lines)))
                if len(waiting) > threads:
                    yield self._told(*waiting.popleft(), block_bytes)
            while waiting:
                yield self._told(*waiting.popleft(), block_bytes)

    def _lines(self, block: bytes) -> bytes:
        """What can be parsed alone: no header, and no byte-order mark at the start that a parser would take away."""
        if not self.is_begun and not self.headers:
            self.is_begun = True
            return block  # its mark is the mark of the file
        if not self.is_begun:
            self.is_begun, self.headers, self.row = True, 0, 0
            header = _LINE_END.search(block)
            block = block[header.end() :] if header else b""
        return codecs.BOM_UTF8 + block if block.startswith(codecs.BOM_UTF8) else block

    def _parsed(self, block: bytes, on_wrong_width: Callable[[Any], str] | None = None) -> pl.DataFrame:
        if not block:
            return pl.DataFrame(schema=dict.fromkeys(self.names.values(), pl.String))
        read = pa_csv.ReadOptions(column_names=self.fields, block_size=len(block) + 1, use_threads=False)
        parse = self._parse_options(on_wrong_width, newlines_in_values=False)
        return self._as_frame(pa_csv.read_csv(pa.BufferReader(block), read, parse, self._convert_options(list(self.names))))

    def _told(self, block: bytes, parsed: Future[pl.DataFrame], block_bytes: int) -> pl.DataFrame:
        """A block, which is parsed again where it has rows of another width: here it is known which rows came before."""
        try:
            return parsed.result()
        except pa.ArrowInvalid:
            self.rows_before = self.row
        try:
            return self._parsed(block, self._wrong_width)
        except pa.ArrowInvalid as error:
            raise TableReadError(self._explained(str(error), block_bytes)) from None

    def _one_by_one(self, marked: MarkedStream, counted: CountedBytes, block_bytes: int) -> Iterator[TextBatch]:
        """From a block with a quote on: where a record ends is known by those before it only."""
        self.rows_before = 0 if self.headers else self.row
        try:
            reader = self._reader(marked, block_bytes)
            held: pa.RecordBatch | None = None
            while (batch := self._next(reader)) is not None:
                if held is not None and batch.num_rows:
                    yield self._batch(self._as_frame(held), counted.count, broken=marked.broken)
                held = batch if batch.num_rows else held
        except pa.ArrowInvalid as error:
            raise TableReadError(self._explained(str(error), block_bytes)) from None
        if self.unclosed is None and held is not None and held.num_rows and held.column(0)[-1].as_py() == self.end_mark:
            yield self._batch(self._as_frame(held.slice(0, held.num_rows - 1)), counted.count, broken=marked.broken)
        else:
            row = self.unclosed if self.unclosed is not None else int(self._take_rows(held.num_rows if held else 1)[-1])
            raise TableReadError(
                f"{self.where}: can't be read as delimited text: data row {row} (counted from 0) opens a quote that is never "
                f"closed; close it, or declare another quote"
            )

    def _reader(self, stream: Any, block_bytes: int) -> Any:
        first = self.fields[0]  # is where the mark of the end is looked for
        with _naming(self.where):
            return pa_csv.open_csv(
                stream,
                pa_csv.ReadOptions(column_names=self.fields, block_size=block_bytes, use_threads=False),
                self._parse_options(self._wrong_width, newlines_in_values=self.quote is not None),
                self._convert_options([field for field in self.fields if field == first or field in self.names]),
            )

    def _parse_options(self, on_wrong_width: Callable[[Any], str] | None, *, newlines_in_values: bool) -> pa_csv.ParseOptions:
        return pa_csv.ParseOptions(
            delimiter=self.separator,
            quote_char=self.quote or False,
            newlines_in_values=newlines_in_values,
            ignore_empty_lines=self.width > 1,
            invalid_row_handler=on_wrong_width,
        )

    def _convert_options(self, fields: list[str]) -> pa_csv.ConvertOptions:
        return pa_csv.ConvertOptions(
            include_columns=fields,
            column_types=dict.fromkeys(fields, pa.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            check_utf8=False,  # the stream holds nothing else
        )

    def _as_frame(self, batch: Any) -> pl.DataFrame:
        return pl.DataFrame({name: pl.from_arrow(batch.column(field)) for field, name in self.names.items()})

    def _next(self, reader: Any) -> pa.RecordBatch | None:
        with _naming(self.where):
            return next(reader, None)

    def _wrong_width(self, record: Any) -> str:
        row = self.rows_before + int(record.number) - 1 - self.headers
        if self.end_mark in record.text:
            self.unclosed = row
            return "skip"
        text = as_replaced_bytes(record.text)
        if row < 0:
            return "skip"  # a header need not have as many fields, where its names are not used for all of them
        sentence = (
            f"{self.where}: every row needs {self.width} fields like the first, but data row {row} (counted from 0) has "
            f"{record.actual_columns} (separator {self.separator!r}): {_shortened(text)!r}; quote fields that hold the "
            "separator, correct the row"
        )
        if self.bad_rows.policy == "error":
            self.fault = sentence
            return "error"
        self.wrong.append(row)
        self.bad_rows.add(file=self.place, name=self.name, row=row, reason="wrong number of fields", text=text)
        return "skip"

    def _explained(self, error: str, block_bytes: int) -> str:
        if self.fault is not None:
            return f"{self.fault}, or declare on_bad_rows = 'skip'"
        if "straddling" in error:
            return (
                f"{self.where}: can't be read as delimited text: after data row {max(self.row - 1, 0)} (counted from 0) a "
                f"record has more than {block_bytes:,} bytes, as where a quote is never closed; close it, or "
                "declare another quote"
            )
        return f"{self.where}: can't be read as delimited text ({error}); check separator {self.separator!r} and quotes"

    def _batch(self, frame: pl.DataFrame, bytes_read: int, *, broken: bool) -> TextBatch:
        rows = self._take_rows(frame.height)
        first = int(rows[0] < 0) if len(rows) else 0
        rows = rows[first:]
        frame = frame.slice(first)
        if broken:
            frame, rows = self._without_broken(frame, rows)
        return TextBatch(frame, rows, bytes_read)

    def _without_broken(self, frame: pl.DataFrame, rows: NDArray[np.int64]) -> tuple[pl.DataFrame, NDArray[np.int64]]:
        fault_of: dict[int, str] = {}
        for name in frame.columns:
            for row in frame[name].str.contains(BROKEN_MARK, literal=True).arg_true().to_list():
                fault_of.setdefault(row, name)
        for at in sorted(fault_of):
            name, row = fault_of[at], int(rows[at])
            self.bad_rows.refuse(
                f"{self.where}: not UTF-8: column {name!r} of data row {row} (counted from 0) holds "
                f"{as_broken_bytes(frame[name][at])}; convert the file to UTF-8"
            )
            text = as_replaced_bytes(self.separator.join(value or "" for value in frame.row(at)))
            self.bad_rows.add(file=self.place, name=self.name, row=row, reason="not UTF-8", column=name, text=text)
        keep = np.ones(frame.height, dtype=bool)
        keep[list(fault_of)] = False
        return frame.filter(pl.Series(keep)), rows[keep]

    def _take_rows(self, count: int) -> NDArray[np.int64]:
        """Numbers of the next rows that have as many fields as they should."""
        if not self.wrong:
            rows = np.arange(self.row, self.row + count)
        else:
            candidates = np.arange(self.row, self.row + count + len(self.wrong))
            rows = candidates[~np.isin(candidates, self.wrong)][:count]
        if count:
            self.row = int(rows[-1]) + 1
            self.wrong = [row for row in self.wrong if row >= self.row]
        return rows


def _read_head(stream: Any) -> bytes:
    head = b""
    while len(head) < _HEAD_BYTES and (data := stream.read(_HEAD_BYTES - len(head))):
        head += data
    return head


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Errors of the system, of gzip and of object stores as ours."""
    try:
        yield
    except (EOFError, zlib.error) as error:
        raise TableReadError(f"{where}: damaged or truncated gzip ({error}); fetch or write the file again") from None
    except OSError as error:
        if type(error).__name__ == "BadGzipFile":
            raise TableReadError(f"{where}: damaged or truncated gzip ({error}); fetch or write the file again") from None
        raise TableReadError(f"{where}: can't be read ({error.strerror or error})") from None
