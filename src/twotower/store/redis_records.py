"""Records as a store in Redis keeps them: text with a checksum, written by a script, checked when read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from twotower.errors import CorruptStoreError
from twotower.store.contract import Interaction, ItemChange, LoggedInteraction
from twotower.store.entries import ItemEntry
from twotower.store.redis_scripts import CHECKSUM_LETTERS
from twotower.types import Id

__all__ = ["RESTORE", "interaction_said", "item_said", "json_id", "read_change", "read_interaction", "read_member"]

RESTORE = "restore the server from a backup, or begin another store under another prefix"
"""What to do with a store that is damaged."""

_DIGITS = 19


def json_id(value: Id) -> str:
    """An id as JSON: text and integers stay apart.

    Example:
        >>> json_id("7"), json_id(7)
        ('"7"', '7')
    """
    return json.dumps(value, ensure_ascii=False)


def item_said(entry: ItemEntry) -> str:
    """What the record of an item's change says, beside its checksum."""
    return f"[{json_id(entry.item)},{'null' if entry.features is None else entry.features}]"


def interaction_said(interaction: Interaction) -> str:
    """What the record of an interaction says, beside its checksum and the time that it is ordered by."""
    return json.dumps(list(interaction), ensure_ascii=False, separators=(",", ":"))


def read_change(name: str, sequence: int, record: bytes) -> ItemChange:
    """A change of an item.

    Raises:
        CorruptStoreError: If it has changed since it was written.
    """
    item, features = _said(name, "item change", sequence, _body(name, "item change", sequence, record))
    return ItemChange(sequence, item, features)


def read_interaction(name: str, sequence: int, record: bytes, score: float | None = None) -> LoggedInteraction:
    """An interaction; ``score`` is what its history is ordered by, where it was read from one.

    Raises:
        CorruptStoreError: If it has changed since it was written.
    """
    at, _, body = _body(name, "interaction", sequence, record).partition(b" ")
    if score is not None and float(at) != score:
        raise CorruptStoreError(f"{name} is damaged: interaction {sequence} has another place in its history; {RESTORE}")
    user, item, time = _said(name, "interaction", sequence, body)
    return LoggedInteraction(sequence, user, item, time)


def read_member(name: str, member: bytes, score: bytes) -> LoggedInteraction:
    """An interaction of a history: its sequence in 19 digits, a space, its record.

    Raises:
        CorruptStoreError: If it has changed since it was written.
    """
    try:
        sequence, at = int(member[:_DIGITS]), float(score)
    except ValueError:
        raise CorruptStoreError(f"{name} is damaged: a history holds {member[:40]!r}; {RESTORE}") from None
    return read_interaction(name, sequence, member[_DIGITS + 1 :], at)


def _body(name: str, what: str, sequence: int, record: bytes) -> bytes:
    """What follows the checksum, if it is the one."""
    checksum, _, said = record.partition(b" ")
    found = hashlib.sha1(b"%d %b" % (sequence, said), usedforsecurity=False).hexdigest()[:CHECKSUM_LETTERS]
    if checksum != found.encode():
        raise CorruptStoreError(f"{name} is damaged: {what} {sequence} has changed since it was written; {RESTORE}")
    return said


def _said(name: str, what: str, sequence: int, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise CorruptStoreError(f"{name} is damaged: {what} {sequence} can't be read ({error}); {RESTORE}") from error
