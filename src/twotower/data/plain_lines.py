"""Text in which every line break ends a record and every separator a field: both are found by their places alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data.native_lines import NativeLines

__all__ = ["Fields", "PlainLines", "Seen"]

_BREAK, _RETURN, _ASCII = 10, 13, 128


@dataclass(frozen=True)
class Seen:
    """What a part of a file holds, which may begin and end within a line.

    Attributes:
        lines: Line breaks.
        before: Separators before the first of them; without one, all.
        behind: Separators behind the last.
        end: Bytes up to and with the last.
    """

    lines: int
    before: int
    behind: int
    end: int


@dataclass(frozen=True)
class Fields:
    """One field of some lines.

    Attributes:
        text: uint8, one behind the other.
        lengths: int32 ``[n]``, in bytes.
    """

    text: NDArray[np.uint8]
    lengths: NDArray[np.int32]


class PlainLines:
    """What every line of a text must be like: of ASCII, without carriage returns and quotes, of equally many fields.

    Args:
        separator: Between fields.
        separators: How many a line has, at least one.
        quote: The quote character; None: no character has that meaning.

    Example:
        >>> text = np.frombuffer(b"ann,7\\nbob,8\\n", dtype=np.uint8)
        >>> lines = PlainLines(",", 1, '"')
        >>> lines.scan(text)
        Seen(lines=2, before=1, behind=0, end=12)
        >>> lines.fields(text, np.array([1]), [0])[0].text.tobytes()
        b'bob'
    """

    def __init__(self, separator: str, separators: int, quote: str | None) -> None:
        self._separator, self._separators = ord(separator), separators
        self._quote = _RETURN if quote is None else ord(quote)
        self._native = NativeLines.here()

    def scan(self, text: NDArray[np.uint8]) -> Seen | None:
        """Look at a part of a file.

        Returns:
            None where it is not plain, as far as can be told from it: of its first and its last line only a part may be here.
        """
        if self._native is not None:
            found = self._native.scan(text, self._separator, self._separators, self._quote)
            return None if found is None else Seen(*found)
        if ((text >= _ASCII) | (text == _RETURN) | (text == self._quote)).any():
            return None
        ends = np.flatnonzero(text == _BREAK)
        places = np.flatnonzero(text == self._separator)
        if not len(ends):
            return Seen(0, len(places), 0, 0)
        until = np.searchsorted(places, ends)
        if (np.diff(until) != self._separators).any():
            return None
        return Seen(len(ends), int(until[0]), len(places) - int(until[-1]), int(ends[-1]) + 1)

    def fields(self, text: NDArray[np.uint8], rows: NDArray[np.int64], wanted: list[int]) -> list[Fields] | None:
        """Some fields of some lines.

        Args:
            text: Whole lines.
            rows: Which lines, ascending.
            wanted: Which fields, ascending.

        Returns:
            None where the lines are not plain after all.
        """
        found = self._places(text, rows, np.array(wanted, dtype=np.int64))
        if found is None:
            return None
        return [Fields(self._copied(text, begins, ends), ends - begins) for begins, ends in zip(*found, strict=True)]

    def _places(
        self, text: NDArray[np.uint8], rows: NDArray[np.int64], wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        if self._native is not None:
            return self._native.fields(text, self._separator, rows, wanted)
        width = self._separators + 1
        ends = np.flatnonzero((text == _BREAK) | (text == self._separator))
        if (
            len(ends) % width
            or (text[ends[width - 1 :: width]] != _BREAK).any()
            or rows[-1:].max(initial=-1) >= len(ends) // width
        ):
            return None
        begins = np.append(0, ends[:-1] + 1)
        at = rows * width + wanted[:, None]
        return begins[at].astype(np.int32), ends[at].astype(np.int32)

    def _copied(self, text: NDArray[np.uint8], begins: NDArray[np.int32], ends: NDArray[np.int32]) -> NDArray[np.uint8]:
        if self._native is not None:
            return self._native.copy(text, begins, ends)
        lengths = (ends - begins).astype(np.int64)
        first = np.cumsum(lengths) - lengths
        copied: NDArray[np.uint8] = text[np.repeat(begins - first, lengths) + np.arange(lengths.sum())]
        return copied
