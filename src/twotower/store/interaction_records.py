"""Interactions as rows: written within a transaction, checked when read."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from twotower.errors import CorruptStoreError
from twotower.store.checksums import interaction_checksum
from twotower.store.contract import Interaction, LoggedInteraction
from twotower.store.head import Head
from twotower.store.sqlite_errors import RESTORE
from twotower.types import Id

__all__ = ["add_interactions", "read_history", "read_interactions"]

_ADD = "INSERT INTO interactions (sequence, user, item, time, at, checksum) VALUES (?, ?, ?, ?, ?, ?)"
_LATEST = "SELECT max(at) FROM interactions INDEXED BY interactions_by_user WHERE user = ?"
_READ = """SELECT sequence, user, item, time, at, checksum FROM interactions NOT INDEXED
    WHERE sequence > ? ORDER BY sequence LIMIT ?"""
_HISTORY = """SELECT sequence, user, item, time, at, checksum FROM interactions INDEXED BY interactions_by_user
    WHERE user = ? AND sequence > ? ORDER BY at DESC, sequence DESC LIMIT ?"""


def add_interactions(connection: sqlite3.Connection, head: Head, interactions: Sequence[Interaction]) -> int:
    """Write interactions at the end of the log, and note them in the head; the last sequence of the log is returned.

    Without a time, one is ordered by the latest time of its user so far; by minus infinity when there is none.
    """
    rows: list[tuple[int, Id, Id, float | None, float, int]] = []
    latest: dict[Id, float] = {}
    needed = {user for user, _, time in interactions if time is None}
    for user, item, time in interactions:
        at = -math.inf if time is None else time
        if user in needed:
            if user not in latest:
                (found,) = connection.execute(_LATEST, (user,)).fetchone()
                latest[user] = -math.inf if found is None else found
            at = latest[user] if time is None else time
            latest[user] = max(at, latest[user])
        head.interactions_last += 1
        checksum = interaction_checksum(head.interactions_last, user, item, time, at)
        head.interactions_sum += checksum
        rows.append((head.interactions_last, user, item, time, at, checksum))
    head.interactions_count += len(rows)
    connection.executemany(_ADD, rows)
    return head.interactions_last


def read_history(
    connection: sqlite3.Connection, path: Path, user: Id, latest: int | None, after: int
) -> list[LoggedInteraction]:
    """The interactions of a user with a sequence above ``after``, at most the ``latest``, the most recent last.

    Raises:
        CorruptStoreError: If one has changed since it was written.
    """
    rows = connection.execute(_HISTORY, (user, after, -1 if latest is None else latest)).fetchall()
    rows.reverse()
    return [_checked(row, path) for row in rows]


def read_interactions(connection: sqlite3.Connection, path: Path, after: int, limit: int | None) -> list[LoggedInteraction]:
    """The interactions after a sequence, in order of arrival; at most ``limit``.

    Raises:
        CorruptStoreError: If one has changed since it was written.
    """
    return [_checked(row, path) for row in connection.execute(_READ, (after, -1 if limit is None else limit))]


def _checked(row: tuple[int, Id, Id, float | None, float, int], path: Path) -> LoggedInteraction:
    sequence, user, item, time, at, checksum = row
    if interaction_checksum(sequence, user, item, time, at) != checksum:
        raise CorruptStoreError(f"{path} is damaged: interaction {sequence} has changed since it was written; {RESTORE}")
    return LoggedInteraction(sequence, user, item, time)
