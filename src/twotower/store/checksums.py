"""The checksum that every record carries: CRC-32 over everything that the record says, in one unambiguous form."""

from __future__ import annotations

from zlib import crc32

from twotower.types import Id

__all__ = ["interaction_checksum", "item_checksum"]


def item_checksum(sequence: int, item: Id, features: str | None) -> int:
    """Of a change of an item; ``features`` as JSON text, None where it was removed.

    Example:
        >>> item_checksum(1, "a", None) == item_checksum(1, "a", "null")
        False
    """
    told = f"{sequence} {len(item) if isinstance(item, str) else 'i'} {item}{'-' if features is None else f'+{features}'}"
    return crc32(told.encode())


def interaction_checksum(sequence: int, user: Id, item: Id, time: float | None, at: float) -> int:
    """Of an interaction; ``at`` is the time that it is ordered by."""
    told = f"{sequence} {time!r} {at!r} {len(user) if isinstance(user, str) else 'i'} {user} {item}"
    return crc32(told.encode())
