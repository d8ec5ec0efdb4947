"""Changes of items as rows: written within a transaction, checked when read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from twotower.errors import CorruptStoreError
from twotower.store.checksums import item_checksum
from twotower.store.contract import ItemChange
from twotower.store.entries import ItemEntry
from twotower.store.head import Head
from twotower.store.sqlite_errors import RESTORE

__all__ = ["add_item_changes", "forget_superseded", "read_item_changes"]

_ADD = "INSERT INTO item_changes (sequence, item, features, checksum) VALUES (?, ?, ?, ?)"
_READ = "SELECT sequence, item, features, checksum FROM item_changes NOT INDEXED WHERE sequence > ? ORDER BY sequence LIMIT ?"
_SUPERSEDED = """SELECT sequence, checksum FROM item_changes NOT INDEXED
    WHERE sequence > ? AND sequence <= ? AND sequence < (
        SELECT max(later.sequence) FROM item_changes AS later INDEXED BY item_changes_by_item
        WHERE later.item = item_changes.item
    )"""
_FORGET = "DELETE FROM item_changes WHERE sequence = ?"


def add_item_changes(connection: sqlite3.Connection, head: Head, entries: Sequence[ItemEntry]) -> int:
    """Write changes at the end of the log, and note them in the head; the last sequence of the log is returned."""
    rows = []
    for item, features in entries:
        head.items_last += 1
        checksum = item_checksum(head.items_last, item, features)
        head.items_sum += checksum
        rows.append((head.items_last, item, features, checksum))
    head.items_count += len(rows)
    connection.executemany(_ADD, rows)
    return head.items_last


def read_item_changes(connection: sqlite3.Connection, path: Path, after: int, limit: int | None) -> list[ItemChange]:
    """The changes after a sequence, in order; at most ``limit``.

    Raises:
        CorruptStoreError: If one has changed since it was written.
    """
    changes = []
    for sequence, item, features, checksum in connection.execute(_READ, (after, -1 if limit is None else limit)):
        if item_checksum(sequence, item, features) != checksum:
            raise CorruptStoreError(f"{path} is damaged: item change {sequence} has changed since it was written; {RESTORE}")
        changes.append(ItemChange(sequence, item, None if features is None else json.loads(features)))
    return changes


def forget_superseded(connection: sqlite3.Connection, head: Head, after: int, until: int) -> int:
    """Delete the changes with a sequence above ``after`` and up to ``until`` that a later one of the same item supersedes.

    Returns:
        How many.
    """
    superseded = connection.execute(_SUPERSEDED, (after, until)).fetchall()
    connection.executemany(_FORGET, [(sequence,) for sequence, _ in superseded])
    head.items_count -= len(superseded)
    head.items_sum -= sum(checksum for _, checksum in superseded)
    return len(superseded)
