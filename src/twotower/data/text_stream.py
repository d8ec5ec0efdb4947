"""The bytes of a delimited file as the parser is given them: unzipped, counted, in UTF-8, with a mark at the end."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from typing import BinaryIO, cast

__all__ = ["BROKEN_MARK", "CountedBytes", "MarkedStream", "as_broken_bytes", "as_replaced_bytes", "end_mark", "unzipped"]

BROKEN_MARK = "\U0010fffe"
"""Stands before the two digits of a byte that is not UTF-8; no character of any text."""

_NO_UTF_8 = re.compile("[\udc80-\udcff]")
_MARKED = re.compile(f"{BROKEN_MARK}([0-9a-f]{{2}})")
_GZIP_MAGIC = b"\x1f\x8b"


def end_mark(separator: str, quote: str | None) -> str:
    """The first field of a record that is put behind the last one: swallowed by it where a quote was never closed.

    Example:
        >>> end_mark(" ", None).strip("\\x1c\\x1d")
        'end-of-file'
    """
    return "".join(sign for sign in "\x1c\x1dend-of-file\x1d\x1c" if sign not in (separator, quote))


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
        if isinstance(self._file, io.BufferedReader | io.RawIOBase):
            size = self._file.readinto(view) or 0
        else:  # what an object store gives may know no more than this
            data = self._file.read(len(view))
            size = len(data)
            view[:size] = data
        self.count += size
        return size


def unzipped(counted: CountedBytes) -> BinaryIO:
    """The contents, whether the file is gzip (told by its first bytes, whatever its name) or plain."""
    buffered = io.BufferedReader(counted, buffer_size=1 << 20)
    if buffered.peek(2)[:2] == _GZIP_MAGIC:
        return cast("BinaryIO", gzip.GzipFile(fileobj=buffered))
    return buffered


class MarkedStream(io.RawIOBase):
    """What was read ahead, then the rest, then a line break where the last one is missing, then a last record.

    Bytes that are not UTF-8 are written as `BROKEN_MARK` and two hexadecimal digits, so that the parser sees text only.

    Args:
        head: The first bytes, which were read already.
        rest: Where the others come from.
        last_record: What is put behind them.

    Attributes:
        broken: Whether such bytes were met so far.
    """

    def __init__(self, head: bytes, rest: BinaryIO, last_record: bytes) -> None:
        self._waiting = b""
        self._head = head
        self._rest = rest
        self._tail: bytes | None = last_record
        self._last = b"\n"
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.broken = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes; fewer at the end only, for the parser wants a line break in every block; none behind it."""
        size = 1 << 20 if size < 0 else size
        while len(self._waiting) < size and self._tail is not None:
            wanted = size - len(self._waiting)
            data, self._head = self._head[:wanted] or self._rest.read(wanted), self._head[wanted:]
            self._last = data[-1:] or self._last
            text = self._as_text(data)
            if not self._waiting and len(text) == size:
                return text
            self._waiting += text
            if not data:
                self._waiting += (b"" if self._last in (b"\n", b"\r") else b"\n") + self._tail
                self._tail = None
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    @property
    def at_end(self) -> bool:
        """Whether all was read, the last record too."""
        return self._tail is None and not self._waiting

    def put_back(self, data: bytes) -> None:
        """Read these bytes once more before the others."""
        self._waiting = data + self._waiting

    def _as_text(self, data: bytes) -> bytes:
        """The same bytes where they are UTF-8; those of a character that was cut come with the next ones."""
        if data.isascii() and not self._decoder.getstate()[0] and data:
            return data
        text = self._decoder.decode(data, final=not data)
        if _NO_UTF_8.search(text) is None:
            return text.encode()
        self.broken = True
        return _NO_UTF_8.sub(lambda found: f"{BROKEN_MARK}{ord(found[0]) - 0xDC00:02x}", text).encode()


def as_broken_bytes(text: str) -> str:
    """What a value that holds bytes that are not UTF-8 looks like in a message.

    Example:
        >>> print(as_broken_bytes(f"caf{BROKEN_MARK}e9"))
        b'caf\\xe9'
    """
    return repr(_MARKED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text).encode("utf-8", errors="surrogateescape"))


def as_replaced_bytes(text: str) -> str:
    """A text in which the sign for an unknown character stands for every byte that is not UTF-8."""
    return _MARKED.sub("\ufffd", text)
