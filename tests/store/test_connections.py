from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from twotower.errors import CorruptStoreError, StoreError
from twotower.store.connections import Readers, connect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
    return path


def test_a_connection_that_reads_does_not_write(path: Path) -> None:
    with (
        contextlib.closing(connect(path, wait_s=1, reads_only=True)) as reader,
        contextlib.closing(connect(path, wait_s=1, reads_only=False)) as writer,
    ):
        writer.execute("INSERT INTO t VALUES (1)")
        assert reader.execute("SELECT x FROM t").fetchall() == [(1,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO t VALUES (2)")


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "none.db", wait_s=1, reads_only=False)
    assert list(tmp_path.iterdir()) == []


def test_connections_are_used_again_and_as_many_as_read_at_once(path: Path) -> None:
    readers = Readers(path, 1)
    seen = set()
    for _ in range(5):
        with readers.lend() as connection:
            seen.add(id(connection))
    assert len(seen) == 1
    with readers.lend() as one, readers.lend() as other:
        assert one is not other
    barrier = threading.Barrier(4)

    def read() -> None:
        with readers.lend() as connection:
            barrier.wait(30)
            connection.execute("SELECT * FROM t").fetchall()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(readers._idle) == 4
    readers.close()


def test_what_sqlite_raises_becomes_ours(path: Path) -> None:
    readers = Readers(path, 1)
    with pytest.raises(StoreError, match=r"some\.db can't be read: no such table: u"), readers.lend() as connection:
        connection.execute("SELECT * FROM u")
    assert readers._idle == []
    with pytest.raises(CorruptStoreError), readers.lend() as connection:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()
    readers.close()


def test_what_is_lent_when_it_is_closed_is_closed_when_it_comes_back(path: Path) -> None:
    readers = Readers(path, 1)
    with readers.lend() as connection:
        readers.close()
        connection.execute("SELECT 1").fetchall()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    with pytest.raises(StoreError, match="was closed"), readers.lend():
        pass
