"""Blocks of whole records of a text stream, as long as no quote comes: such blocks can be parsed side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

__all__ = ["PlainBlocks"]


class ByteStream(Protocol):
    """What blocks are read from."""

    def read(self, size: int, /) -> bytes: ...


class PlainBlocks:
    """A stream in blocks that end behind a line break.

    Without a quote every line break ends a record, so that a block can be parsed without those before it. The first block that
    holds one, or no line break, is not given, and none behind it.

    Args:
        stream: Text, whose last line ends.
        quote: The quote character; None: no character has that meaning.
        block_bytes: Size of a block.

    Attributes:
        rest: What was read of the stream, and not given; the stream goes on behind it.

    Example:
        >>> import io
        >>> blocks = PlainBlocks(io.BytesIO(b'a,1\\nb,2\\nc,3\\n"d",4\\n'), '"', 8)
        >>> list(blocks), blocks.rest
        ([b'a,1\\nb,2\\n'], b'c,3\\n"d",')
    """

    def __init__(self, stream: ByteStream, quote: str | None, block_bytes: int) -> None:
        self._stream = stream
        self._quote = None if quote is None else quote.encode()
        self._block_bytes = block_bytes
        self.rest = b""

    def __iter__(self) -> Iterator[bytes]:
        """The blocks, once."""
        while data := self._stream.read(self._block_bytes):
            end = 0 if self._quote is not None and self._quote in data else data.rfind(b"\n") + 1
            if not end:
                self.rest += data
                return
            block = b"".join((self.rest, memoryview(data)[:end]))
            self.rest = data[end:]
            yield block
