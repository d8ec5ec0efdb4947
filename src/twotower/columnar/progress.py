"""What a conversion tells while it works."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ConversionClock", "Converting"]

_EVERY_S = 0.1


@dataclass(frozen=True)
class Converting:
    """How far a conversion is.

    Attributes:
        rows: Rows that were read so far.
        bytes_read: Bytes of the source that were read so far, as they lie on the disk.
        bytes_total: Bytes that are to be read; twice those of the source where a column of numbers turned out to hold text, and
            is read again.
        seconds: Time since the conversion began.
        why: Why it is converted, or what is waited for, in words.
        again: Whether it had been converted before, and what was there can't be used: somebody should know why.
    """

    rows: int
    bytes_read: int
    bytes_total: int
    seconds: float
    why: str
    again: bool = False


class ConversionClock:
    """Tells a listener, a few times a second.

    Args:
        listener: Who is told; None: nobody.
        bytes_total: Bytes of the source.
        why: Why it is converted.
        again: Whether it had been converted before.
    """

    def __init__(
        self, listener: Callable[[Converting], None] | None, bytes_total: int, why: str, *, again: bool = False
    ) -> None:
        self.listener = listener
        self.bytes_total = bytes_total
        self.why = why
        self.again = again
        self._start = time.monotonic()
        self._told = float("-inf")

    def tell(self, rows: int, bytes_read: int, *, last: bool = False) -> None:
        """Say how far the work is, unless it was said a moment ago.

        Args:
            rows: Rows so far.
            bytes_read: Bytes so far.
            last: Whether to say it in any case.
        """
        now = time.monotonic()
        if self.listener is not None and (last or now - self._told >= _EVERY_S):
            self._told = now
            self.listener(Converting(rows, bytes_read, self.bytes_total, now - self._start, self.why, self.again))
