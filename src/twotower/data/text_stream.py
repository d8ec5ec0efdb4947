"""The bytes of a delimited file as the parser is given them: unzipped, counted, and with a mark behind the last record."""

from __future__ import annotations

import gzip
import io
from typing import BinaryIO, cast

__all__ = ["END_MARK", "CountedBytes", "MarkedStream", "unzipped"]

END_MARK = "\x1cend of file\x1c"
"""The first field of a record that is put behind the last one: swallowed by it where a quote was never closed."""

_GZIP_MAGIC = b"\x1f\x8b"


class CountedBytes(io.RawIOBase):
    """A file that knows how many bytes were read from it.

    Args:
        file: Where the bytes come from.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """Read into a buffer; 0 at the end."""
        view = memoryview(cast("bytearray", buffer)).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        self.count += len(data)
        return len(data)


def unzipped(counted: CountedBytes) -> BinaryIO:
    """The contents, whether the file is gzip (told by its first bytes, whatever its name) or plain."""
    buffered = io.BufferedReader(counted, buffer_size=1 << 20)
    if buffered.peek(2)[:2] == _GZIP_MAGIC:
        return cast("BinaryIO", gzip.GzipFile(fileobj=buffered))
    return buffered


class MarkedStream(io.RawIOBase):
    """What was read ahead, then the rest, then a line break where the last one is missing, then a last record.

    Args:
        head: The first bytes, which were read already.
        rest: Where the others come from.
        last_record: What is put behind them.
    """

    def __init__(self, head: bytes, rest: BinaryIO, last_record: bytes) -> None:
        self._head = head
        self._rest = rest
        self._tail: bytes | None = last_record
        self._last = b"\n"

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; fewer than asked for before the end as well; none at the end."""
        size = 1 << 20 if size < 0 else size
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._rest.read(size)
            if not data and self._tail is not None:
                data = (b"" if self._last in (b"\n", b"\r") else b"\n") + self._tail
                self._tail = None
        if data:
            self._last = data[-1:]
        return data
