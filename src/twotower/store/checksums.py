"""The checksum that every record carries: CRC-32 over everything that the record says, in one unambiguous form."""

from __future__ import annotations

import math
import struct
from zlib import crc32

from twotower.types import Id

__all__ = ["interaction_checksum", "item_checksum"]

_NUMBERS = struct.Struct("<qqdd")
_OF_NOTHING = -1


def item_checksum(sequence: int, item: Id, features: str | None) -> int:
    """Of a change of an item; ``features`` as JSON text, None where it was removed.

    Example:
        >>> item_checksum(1, "a", None) == item_checksum(1, "a", "null")
        False
    """
    told = f"{sequence} {_length(item)} {item}{'-' if features is None else f'+{features}'}"
    return crc32(told.encode())


def interaction_checksum(sequence: int, user: Id, item: Id, time: float | None, at: float) -> int:
    """Of an interaction; ``at`` is the time that it is ordered by.

    Computed for every entry of every history that is read: the numbers are packed, since writing them as text takes three times
    as long. What a damaged file may hold in place of numbers has the checksum of no record.
    """
    try:
        numbers = _NUMBERS.pack(sequence, _length(user), math.nan if time is None else time, at)
    except struct.error:
        return _OF_NOTHING
    return crc32(f"{user} {item}".encode(), crc32(numbers))


def _length(value: Id) -> int:
    return len(value) if isinstance(value, str) else -1
