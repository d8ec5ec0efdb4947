"""Connections to a store's file: one to write, and as many to read as there are readers at once."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

from twotower.errors import StoreError
from twotower.store.sqlite_errors import SQLITE_ERRORS, store_error

__all__ = ["Readers", "connect"]

_SETTINGS = """
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = MEMORY;
"""


def connect(path: Path, *, wait_s: float, reads_only: bool) -> sqlite3.Connection:
    """Open a file of SQLite that exists, so that a commit is on the disk when it returns.

    Checkpoints are the writer's, never SQLite's own (see :mod:`twotower.store.write_lock`).

    Args:
        path: The file; must be there.
        wait_s: How long SQLite waits for another process, seconds.
        reads_only: Whether to refuse to write.

    Raises:
        sqlite3.Error: As SQLite says it.
    """
    # the file is never opened by anything but SQLite: closing it elsewhere in this process would drop SQLite's locks on it
    uri = f"file:{quote_from_bytes(bytes(path))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.executescript(_SETTINGS)
        connection.execute(f"PRAGMA query_only = {int(reads_only)}")
    except BaseException:
        connection.close()
        raise
    return connection


class Readers:
    """Connections that are lent to one thread at a time and kept for the next one.

    Args:
        path: The store's file.
        wait_s: How long SQLite waits for another process, seconds.
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path = path
        self._wait_s = wait_s
        self._idle: list[sqlite3.Connection] = []  # the last one back goes first: its pages are in the cache
        self._closed = False

    @contextlib.contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection for the time of the block; one that an error occurred on is not used again.

        Raises:
            StoreError: In place of what SQLite raises in the block, or if this was closed.
        """
        if self._closed:
            raise StoreError(f"{self._path} can't be read: this store was closed; open it again")
        connection: sqlite3.Connection | None = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect(self._path, wait_s=self._wait_s, reads_only=True)
            yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, SQLITE_ERRORS):
                raise store_error(error, self._path, "read") from error
            raise
        self._idle.append(connection)
        if self._closed:
            self._close_idle()

    def close(self) -> None:
        """Close the connections; one that is lent is closed when it comes back."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()
