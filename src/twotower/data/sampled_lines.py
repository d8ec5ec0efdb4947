"""Some lines of a large text file: all are counted, and only those that are wanted are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from twotower.data.first_record import TextFormat, read_first_record
from twotower.data.source_files import SourceFile
from twotower.errors import TableReadError

__all__ = ["Sample", "SampledFile", "sampled_lines"]

_AT_ONCE = 4 << 20
_HEAD_BYTES = 1 << 20
_MOST_BYTES = 1 << 28
_MOST_THREADS = 8
_BREAK = 10


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
class SampledFile:
    """Lines that were taken from a file.

    Attributes:
        file: Reads as the file would if it had these lines only, after its header.
        rows: How many data rows the file has.
    """

    file: SourceFile
    rows: int


def sampled_lines(files: list[SourceFile], form: TextFormat, sample: Sample) -> SampledFile | None:
    """Take some lines of a file that is as plain as can be.

    Plain is one local file of ASCII without quotes, carriage returns and blank lines, with a line break at its end, in which
    every line has as many fields as the first. All lines are held to that, by counting; what stands in those that are not
    taken is not looked at.

    Args:
        files: The source.
        form: How it is written.
        sample: Which rows.

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
        refused = (b"\r", *([] if form.quote is None else [form.quote.encode()]))
        form_of_lines = _Lines(descriptor, ord(separator), first.width - 1, refused)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS), thread_name_prefix="scan") as pool:
            windows = range(start, file.size, _AT_ONCE)
            blocks = _blocks(start, list(pool.map(lambda at: _count(descriptor, at, file.size), windows)))
            if not blocks or blocks[-1].end != file.size:  # the last line does not end
                return None
            if max(block.end - block.start for block in blocks) > 2 * _AT_ONCE:  # a line that fits no window
                return None
            chosen = sample.choose(blocks[-1].row + blocks[-1].lines)
            edges = np.searchsorted(chosen, [block.row for block in blocks] + [blocks[-1].row + blocks[-1].lines]).tolist()
            mine = [chosen[a:b] - block.row for a, b, block in zip(edges, edges[1:], blocks, strict=False)]
            parts = list(pool.map(form_of_lines.taken, blocks, mine))
    finally:
        os.close(descriptor)
    if any(part is None for part in parts):
        return None
    data = b"".join([head[:start], *(part for part in parts if part is not None)])
    return SampledFile(replace(file, size=len(data), store=_Store(data)), blocks[-1].row + blocks[-1].lines)


@dataclass(frozen=True)
class _Block:
    """Whole lines: where they start and end in the file, the first one's data row, and how many they are."""

    start: int
    end: int
    row: int
    lines: int


def _count(descriptor: int, start: int, size: int) -> tuple[int, int]:
    """How many lines end in a window of the file, and where the last of them does."""
    data = os.pread(descriptor, min(_AT_ONCE, size - start), start)
    lines = int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _BREAK))
    return lines, start + data.rfind(b"\n") + 1


def _blocks(start: int, counts: list[tuple[int, int]]) -> list[_Block]:
    blocks: list[_Block] = []
    row = 0
    for lines, end in counts:
        if lines:
            blocks.append(_Block(start, end, row, lines))
            start, row = end, row + lines
    return blocks


@dataclass(frozen=True)
class _Lines:
    """What all lines of a file must be like."""

    descriptor: int
    separator: int
    separators: int
    refused: tuple[bytes, ...]

    def taken(self, block: _Block, chosen: NDArray[np.int64]) -> bytes | None:
        """Some lines of a block, by number, after each other; None where one of all its lines is another."""
        data = os.pread(self.descriptor, block.end - block.start, block.start)
        if len(data) != block.end - block.start or not data.isascii() or any(sign in data for sign in self.refused):
            return None
        text = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(text == _BREAK) + 1
        begins = np.append(0, ends[:-1])
        counts = np.add.reduceat((text == self.separator).view(np.uint8), begins, dtype=np.int32)
        if not bool((counts == self.separators).all()):
            return None
        return b"".join([data[a:b] for a, b in zip(begins[chosen].tolist(), ends[chosen].tolist(), strict=True)])


@dataclass(frozen=True)
class _Store:
    """What a `SourceFile` opens: bytes in memory."""

    data: bytes

    @contextmanager
    def open(self, path: str, mode: str) -> Iterator[BinaryIO]:
        del path, mode
        yield BytesIO(self.data)
