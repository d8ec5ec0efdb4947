"""Some lines of a large text file: all are counted, and only those that are wanted are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrow_text import ArrowText
from twotower.data.first_record import TextFormat, read_first_record
from twotower.data.plain_lines import Fields, PlainLines, Seen
from twotower.data.source_files import SourceFile
from twotower.errors import TableReadError

__all__ = ["Sample", "SampledRows", "sampled_lines"]

_AT_ONCE = 2 << 20
_HEAD_BYTES = 1 << 20
_MOST_BYTES = 1 << 28
_MOST_THREADS = 8


@dataclass(frozen=True)
class Sample:
    """Some rows of a table.

    Attributes:
        fraction: About what share of all rows it is.
        choose: From the number of data rows to those that are wanted, int64, ascending.
    """

    fraction: float
    choose: Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True)
class SampledRows:
    """Rows that were taken from a file.

    Attributes:
        names: The columns of the file.
        frame: Of the wanted columns, text; an empty field is null.
        rows: How many data rows the file has.
    """

    names: tuple[str, ...]
    frame: pl.DataFrame
    rows: int


def sampled_lines(
    files: list[SourceFile], form: TextFormat, sample: Sample, wanted: Collection[str] | None = None
) -> SampledRows | None:
    """Take some lines of a file that is as plain as can be.

    Plain is one local file of ASCII without quotes, carriage returns and blank lines, with a line break at its end, in which
    every line has as many fields as the first. All lines are held to that, by counting; what stands in those that are not
    taken is not looked at.

    Args:
        files: The source.
        form: How it is written.
        sample: Which rows.
        wanted: Which columns; None, or where the file has none of them: all.

    Returns:
        None where the file is not plain, can't be opened, or the sample is too much for memory: it has to be read whole.
    """
    if len(files) != 1 or files[0].store is not None or files[0].kind != "text" or form.index_column:
        return None
    file = files[0]
    separator = form.separator or ("\t" if ".tsv" in file.suffixes else ",")
    if sample.fraction * file.size > _MOST_BYTES or len(separator.encode()) != 1 or not (form.quote or " ").isascii():
        return None
    try:
        descriptor = os.open(file.path, os.O_RDONLY)
    except OSError:  # the parser says it in words
        return None
    try:
        head = os.pread(descriptor, _HEAD_BYTES, 0)
        if not head.isascii():
            return None
        try:
            first = read_first_record(head, form, separator, file.name)
        except TableReadError:
            return None
        start = head.find(b"\n") + 1 if first.is_header else 0
        if first.width == 1 or (first.is_header and not start):
            return None
        lines = PlainLines(separator, first.width - 1, form.quote)
        chosen = [name for name in first.names if wanted is None or name in wanted] or list(first.names)
        taken = _taken(descriptor, start, file.size, lines, first.width - 1, sample, [first.names.index(n) for n in chosen])
    finally:
        os.close(descriptor)
    if taken is None:
        return None
    parts, rows = taken
    columns = [_column(name, [part[place] for part in parts]) for place, name in enumerate(chosen)]
    return SampledRows(first.names, pl.DataFrame(columns), rows)


def _taken(
    descriptor: int, start: int, size: int, lines: PlainLines, separators: int, sample: Sample, wanted: list[int]
) -> tuple[list[list[Fields]], int] | None:
    """The fields of the sample's lines, part by part, and how many lines there are."""
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    reader = _Reader(descriptor, threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="scan") as pool:
        starts = range(start, size, _AT_ONCE)
        plain = True

        def scan(at: int) -> Seen | None:
            nonlocal plain
            with reader.part(at, min(at + _AT_ONCE, size)) as text:
                whole = len(text) == min(at + _AT_ONCE, size) - at
                seen = lines.scan(text) if plain and whole else None
            plain = plain and seen is not None  # what is not plain in one place is not looked at in others
            return seen

        blocks = _blocks(starts, list(pool.map(scan, starts)), separators)
        if not blocks or blocks[-1].end != size:  # the last line does not end
            return None
        if max(block.end - block.start for block in blocks) > 2 * _AT_ONCE:  # a line that fits no window
            return None
        rows = blocks[-1].row + blocks[-1].lines
        chosen = sample.choose(rows)
        edges = np.searchsorted(chosen, [*(block.row for block in blocks), rows]).tolist()

        def take(block: _Block, first: int, last: int) -> list[Fields] | None:
            with reader.part(block.start, block.end) as text:
                return lines.fields(text, chosen[first:last] - block.row, wanted)

        parts = list(pool.map(take, blocks, edges[:-1], edges[1:]))
    found = [part for part in parts if part is not None]
    return (found, rows) if len(found) == len(parts) else None


class _Reader:
    """Parts of a file, read into few buffers again and again: memory that is new costs more than what is read into it."""

    def __init__(self, descriptor: int, parts: int) -> None:
        self._descriptor = descriptor
        self._buffers: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
        for _ in range(parts):
            self._buffers.put(np.empty(0, dtype=np.uint8))

    @contextmanager
    def part(self, start: int, end: int) -> Iterator[NDArray[np.uint8]]:
        """The bytes from one place to another, as long as nothing else is read; fewer where the file has become shorter."""
        buffer = self._buffers.get()
        try:
            if len(buffer) < end - start:
                buffer = np.empty(end - start, dtype=np.uint8)
            text = buffer[: end - start]
            yield text[: _read_into(text, self._descriptor, start)]
        finally:
            self._buffers.put(buffer)


def _read_into(text: NDArray[np.uint8], descriptor: int, start: int) -> int:
    """Fill an array from a place in a file on; how many bytes there were."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [text.data], start)
    data = os.pread(descriptor, len(text), start)
    text[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    return len(data)


@dataclass(frozen=True)
class _Block:
    """Whole lines: where they start and end in the file, the first one's data row, and how many they are."""

    start: int
    end: int
    row: int
    lines: int


def _blocks(starts: range, seen: list[Seen | None], separators: int) -> list[_Block]:
    """The lines that end in each part of a file; none where one has another number of separators."""
    blocks: list[_Block] = []
    row, count, begin = 0, 0, starts.start
    for at, part in zip(starts, seen, strict=True):
        if part is None:
            return []
        count += part.before
        if part.lines:
            if count != separators:
                return []
            blocks.append(_Block(begin, at + part.end, row, part.lines))
            row, count, begin = row + part.lines, part.behind, at + part.end
    return blocks


def _column(name: str, parts: list[Fields]) -> pl.Series:
    """Text from its bytes; what has none is null."""
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return ArrowText(np.concatenate([part.text for part in parts]), offsets, lengths > 0).series(name)
