"""What a store's file looks like: made whole, recognised before anything in it is believed."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from twotower.bundle import atomic_file
from twotower.errors import BundleError, CorruptStoreError, IncompatibleStoreError, StoreError
from twotower.store.contract import IdKind
from twotower.store.head import Head, read_head, write_head
from twotower.store.sqlite_errors import RESTORE, SQLITE_ERRORS, store_error

__all__ = ["APPLICATION_ID", "FORMAT_VERSION", "check_file", "make_file"]

APPLICATION_ID = 0x32545752
"""The number by which SQLite, and ``file``, tell whose file it is: the letters 2TWR."""

FORMAT_VERSION = 1

_HEAD = """CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    identity TEXT NOT NULL, item_kind TEXT NOT NULL, user_kind TEXT NOT NULL,
    items_last INTEGER NOT NULL, items_count INTEGER NOT NULL, items_sum INTEGER NOT NULL,
    interactions_last INTEGER NOT NULL, interactions_count INTEGER NOT NULL, interactions_sum INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)"""
# ids have no declared type, so that an integer stays an integer and text stays text
_ITEM_CHANGES = """CREATE TABLE item_changes (
    sequence INTEGER PRIMARY KEY, item NOT NULL, features TEXT, checksum INTEGER NOT NULL
)"""
_BY_ITEM = "CREATE INDEX item_changes_by_item ON item_changes (item)"
_INTERACTIONS = """CREATE TABLE interactions (
    sequence INTEGER PRIMARY KEY, user NOT NULL, item NOT NULL, time REAL, at REAL NOT NULL, checksum INTEGER NOT NULL
)"""
# holds all columns: a history is read from pages that lie together, and the two copies are held to each other
_BY_USER = "CREATE INDEX interactions_by_user ON interactions (user, at, sequence, item, time, checksum)"
_SCHEMA = (_HEAD, _ITEM_CHANGES, _BY_ITEM, _INTERACTIONS, _BY_USER)


def make_file(path: Path, *, item_kind: IdKind, user_kind: IdKind) -> None:
    """Make an empty store, whole or not at all.

    Raises:
        CorruptStoreError: If the write-ahead log of a store is there without the store.
        StoreError: If it can't be written.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise CorruptStoreError(
            f"{path} is not there, but its write-ahead log is; put the file back that {log.name} belongs to, or remove "
            f"{log.name}"
        )
    try:
        with atomic_file(path) as temporary:
            _fill(temporary, Head(secrets.token_hex(8), item_kind, user_kind))
    except SQLITE_ERRORS as error:
        raise store_error(error, path, "written") from error
    except BundleError as error:
        raise StoreError(str(error)) from error


def check_file(connection: sqlite3.Connection, path: Path, *, item_kind: IdKind, user_kind: IdKind) -> Head:
    """Recognise a store, and refuse what is none, without writing anything.

    Returns:
        The store's head.

    Raises:
        IncompatibleStoreError: If it is another program's file, of a newer format, or holds ids of another kind.
        CorruptStoreError: If its definitions or its first record have changed.
        sqlite3.Error: As SQLite says it.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        raise IncompatibleStoreError(
            f"{path} is another program's database, not a live store of twotower (its application_id is {application_id:#x} "
            f"in place of {APPLICATION_ID:#x}); choose another path"
        )
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT_VERSION:
        raise IncompatibleStoreError(
            f"{path} is in version {version} of the format, and this twotower reads version {FORMAT_VERSION}: upgrade twotower"
        )
    found = [text for (text,) in connection.execute("SELECT sql FROM sqlite_schema ORDER BY rowid")]
    if found != list(_SCHEMA):
        raise CorruptStoreError(f"{path} is damaged: its tables are not those that a store has; {RESTORE}")
    head = read_head(connection, path)
    for what, kind, asked in (("items", head.item_kind, item_kind), ("users", head.user_kind, user_kind)):
        if kind != asked:
            raise IncompatibleStoreError(
                f"{path} has ids of {what} that are {kind}, and was opened for {asked}; it belongs to another "
                f"recommender: choose another path"
            )
    return head


def _fill(path: Path, head: Head) -> None:
    # an own file that nobody knows of yet: it is flushed as a whole, and needs no journal
    with contextlib.closing(sqlite3.connect(os.fspath(path), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        for statement in _SCHEMA:
            connection.execute(statement)
        write_head(connection, head)
