"""The first record of a store: what it is a store of, and how far its logs have come."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from zlib import crc32

from twotower.errors import CorruptStoreError
from twotower.store.sqlite_errors import RESTORE

__all__ = ["Head", "read_head", "write_head"]

_COLUMNS = (
    "identity, item_kind, user_kind, items_last, items_count, items_sum, "
    "interactions_last, interactions_count, interactions_sum"
)
_READ = f"SELECT {_COLUMNS}, checksum FROM head"
_WRITE = f"INSERT OR REPLACE INTO head (one, {_COLUMNS}, checksum) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclasses.dataclass(slots=True)
class Head:
    """Rewritten with every commit, so that what is in the logs can be held to it.

    Attributes:
        identity: Drawn when the store was made: sequences of another store mean nothing in this one.
        item_kind: What ids of items are, ``text`` or ``integer``.
        user_kind: What ids of users are.
        items_last: Sequence of the last change of an item.
        items_count: How many changes there are.
        items_sum: The sum of their checksums.
        interactions_last: Sequence of the last interaction.
        interactions_count: How many interactions there are.
        interactions_sum: The sum of their checksums.
    """

    identity: str
    item_kind: str
    user_kind: str
    items_last: int = 0
    items_count: int = 0
    items_sum: int = 0
    interactions_last: int = 0
    interactions_count: int = 0
    interactions_sum: int = 0


def read_head(connection: sqlite3.Connection, path: Path) -> Head:
    """The head as this moment's transaction sees it.

    Raises:
        CorruptStoreError: If it has changed since it was written.
        sqlite3.Error: As SQLite says it.
    """
    rows = connection.execute(_READ).fetchall()
    if len(rows) != 1 or rows[0][-1] != _checksum(rows[0][:-1]):
        raise CorruptStoreError(f"{path} is damaged: its first record has changed since it was written; {RESTORE}")
    return Head(*rows[0][:-1])


def write_head(connection: sqlite3.Connection, head: Head) -> None:
    """Replace the head, as part of the transaction that made it so.

    Raises:
        sqlite3.Error: As SQLite says it.
    """
    values = (
        head.identity,
        head.item_kind,
        head.user_kind,
        head.items_last,
        head.items_count,
        head.items_sum,
        head.interactions_last,
        head.interactions_count,
        head.interactions_sum,
    )
    connection.execute(_WRITE, (*values, _checksum(values)))


def _checksum(values: tuple[object, ...]) -> int:
    return crc32(repr(values).encode())
