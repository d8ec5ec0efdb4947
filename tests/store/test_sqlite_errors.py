from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from twotower.errors import CorruptStoreError, StoreBusyError, StoreError
from twotower.store.sqlite_errors import store_error


def told(code: int | None, text: str = "what SQLite says") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    if code is not None:
        error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (5, StoreBusyError, r"live\.db is held by somebody else for too long .*; nothing of this call was written; try again"),
        (261, StoreBusyError, "try again"),  # while the log is recovered
        (6, StoreBusyError, "try again"),
        (13, StoreError, "the disk is full; nothing of this call was written; make space"),
        (778, StoreError, r"the disk failed \(what SQLite says\); nothing of this call was written"),  # while writing
        (8, StoreError, "read-only; nothing of this call was written; check the permissions"),
        (1032, StoreError, "read-only"),  # the file was moved
        (14, StoreError, "can't be opened"),
        (18, StoreError, "a record of this size"),
        (11, CorruptStoreError, "contents are damaged.*restore it from a backup"),
        (267, CorruptStoreError, "contents are damaged"),
        (26, CorruptStoreError, "is not a live store of twotower, or its beginning is damaged"),
        (1555, CorruptStoreError, "contents are damaged"),  # a sequence that is there already
        (None, StoreError, "can't be written: what SQLite says; nothing of this call was written"),
    ],
)
def test_what_sqlite_says(code: int | None, kind: type[StoreError], message: str) -> None:
    error = store_error(told(code), Path("live.db"), "written")
    assert type(error) is kind
    with pytest.raises(StoreError, match=message):
        raise error


def test_damage_that_python_finds() -> None:
    assert type(store_error(told(None, "Could not decode to UTF-8 column 'item'"), Path("x"), "read")) is CorruptStoreError
    assert type(store_error(UnicodeDecodeError("utf-8", b"\xaa", 0, 1, "invalid"), Path("x"), "read")) is CorruptStoreError


def test_reading_promises_nothing_about_writing() -> None:
    assert "nothing of this call" not in str(store_error(told(5), Path("live.db"), "read"))


def test_the_codes_are_those_of_sqlite() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError) as caught:
            connection.execute("INSERT INTO t VALUES (1)")
        assert caught.value.sqlite_errorcode == 1555
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE u AS SELECT hex(randomblob(20000))")
        assert full.value.sqlite_errorcode == 13
