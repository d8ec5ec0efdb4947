"""Both logs in one file of SQLite that threads and processes share, and that survives them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeAlias

from twotower.bundle import JSON
from twotower.errors import StoreError
from twotower.store.connections import Readers, connect
from twotower.store.contract import IdKind, Interaction, ItemChange, LoggedInteraction
from twotower.store.damage import refuse_damage
from twotower.store.entries import check_ids, checked_interactions, checked_items, checked_removals
from twotower.store.file_format import check_file, make_file
from twotower.store.fork_guard import OpenFile, check_process, note_closed, note_open
from twotower.store.group_commit import GroupCommit
from twotower.store.head import Head, read_head, write_head
from twotower.store.interaction_records import add_interactions, read_history, read_interactions
from twotower.store.item_records import add_item_changes, forget_superseded, read_item_changes
from twotower.store.limits import check_after, check_count, check_kind
from twotower.store.sqlite_errors import SQLITE_ERRORS, store_error
from twotower.store.write_lock import write_lock
from twotower.types import Id

__all__ = ["LiveStore", "StoreFacts"]

_Job: TypeAlias = Callable[[sqlite3.Connection, Head], int]

_CHECKPOINT_BYTES = 4 << 20
_MOST_JOBS = 1000
_READERS_WAIT_MS = 20
_COMPACTED_AT_ONCE = 20_000


class StoreFacts(NamedTuple):
    """How large a store is.

    Attributes:
        item_changes: Changes of items that are kept.
        last_item_change: Sequence of the last one.
        interactions: Interactions that are kept.
        last_interaction: Sequence of the last one.
        file_bytes: Size of the file.
        log_bytes: Size of the write-ahead log beside it; some megabytes, and more only while somebody reads for long.
    """

    item_changes: int
    last_item_change: int
    interactions: int
    last_interaction: int
    file_bytes: int
    log_bytes: int


class LiveStore:
    """An :class:`~twotower.store.ItemLog` and an :class:`~twotower.store.InteractionLog` that are kept on the disk.

    One object may be used by all threads of a process; each process opens its own, after it was forked. What a call that writes
    has returned for survives the end of the process and of the power. Got from :meth:`open`.

    Attributes:
        path: The file; a write-ahead log (``-wal``), an index of it (``-shm``) and a lock (``-lock``) lie beside it.
        identity: Drawn when the store was made: sequences that were noted with another one mean nothing here.
        item_kind: What ids of items are.
        user_kind: What ids of users are.
    """

    def __init__(self, path: Path, head: Head, writer: sqlite3.Connection, opened: OpenFile, wait_s: float) -> None:
        self.path = path
        self.identity = head.identity
        self.item_kind: IdKind = "text" if head.item_kind == "text" else "integer"
        self.user_kind: IdKind = "text" if head.user_kind == "text" else "integer"
        self._writer = writer
        self._opened = opened
        self._wait_s = wait_s
        self._log = path.with_name(path.name + "-wal")
        self._checkpoint_at_bytes = _CHECKPOINT_BYTES
        self._readers = Readers(path, wait_s)
        self._commits = GroupCommit[_Job](self._commit, self._checkpoint_if_due, name=str(path), most=_MOST_JOBS)
        self._closing = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        item_kind: IdKind,
        user_kind: IdKind,
        wait_s: float = 5.0,
        verify: bool = True,
    ) -> LiveStore:
        """Open a store; one that is not there is made.

        Args:
            path: The file, in a folder that exists, on a file system of this machine.
            item_kind: What ids of items are.
            user_kind: What ids of users are.
            wait_s: How long a call waits for other processes that write, in seconds.
            verify: Whether to read the whole file and hold it to itself (:meth:`verify`): some seconds per million records.
                Without it, damage of a record is found when it is read, and damage of what leads to a record may not be found;
                it can then be looked for later, in a thread beside the others.

        Raises:
            ValueError: If a kind is neither of the two.
            StoreError: If the folder is not there, the path is a folder, or it can't be read and written.
            CorruptStoreError: If the file has changed since it was written.
            IncompatibleStoreError: If it is another program's, of a newer format, or its ids are of another kind.
            StoreBusyError: If other processes hold it for longer than ``wait_s``.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     with LiveStore.open(Path(folder) / "live.db", item_kind="text", user_kind="integer") as store:
            ...         _ = store.append([Interaction(7, "b", 20.0), Interaction(7, "a", 10.0)])
            ...     with LiveStore.open(Path(folder) / "live.db", item_kind="text", user_kind="integer") as store:
            ...         [entry.item for entry in store.histories([7])[0]]
            ['a', 'b']
        """
        check_kind(item_kind, "item_kind")
        check_kind(user_kind, "user_kind")
        file = Path(os.path.realpath(path))
        if file.is_dir():
            raise StoreError(f"{file} is a folder, and a live store is a file; choose another path, such as {file / 'live.db'}")
        if file.exists() and not file.is_file():
            raise StoreError(f"{file} is not a plain file, and a live store is one; choose another path")
        if not file.parent.is_dir():
            raise StoreError(f"{file} can't be opened: there is no folder {file.parent}; make it first")
        with contextlib.ExitStack() as undo:
            try:
                with write_lock(file, wait_s):
                    if not file.exists():
                        make_file(file, item_kind=item_kind, user_kind=user_kind)
                    if not file.stat().st_size:  # SQLite would take it for a new one, and delete its write-ahead log
                        raise StoreError(f"{file} is empty, and not a live store; remove it or choose another path")
                    if not os.access(file, os.W_OK):  # SQLite would open it, and refuse the first write
                        raise StoreError(f"{file} is read-only; check the permissions")
                    opened = note_open(file)
                    undo.callback(note_closed, opened)
                    writer = undo.enter_context(contextlib.closing(connect(file, wait_s=wait_s, reads_only=False)))
                    head = check_file(writer, file, item_kind=item_kind, user_kind=user_kind)
                    (mode,) = writer.execute("PRAGMA journal_mode = WAL").fetchone()
                    if mode != "wal":
                        raise StoreError(
                            f"{file} can't be shared by processes (journal mode {mode}); it needs a file system of this machine"
                        )
                if verify:
                    refuse_damage(file, wait_s)
            except SQLITE_ERRORS as error:
                raise store_error(error, file, "opened") from error
            except OSError as error:
                raise StoreError(f"{file} can't be opened: {error.strerror}; check the permissions") from error
            undo.pop_all()
            return cls(file, head, writer, opened, wait_s)

    def close(self) -> None:
        """Wait for the writes that have begun, and let go of the file. Closing again does nothing.

        Raises:
            StoreError: In a process that was forked from the one that opened the store.
        """
        check_process(self._opened, self.path)
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._commits.close()
            self._readers.close()
            self._writer.close()  # the last one that closes copies the write-ahead log into the file
            note_closed(self._opened)

    def __enter__(self) -> LiveStore:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def put_items(self, items: Sequence[tuple[Id, Mapping[str, JSON]]]) -> int:
        """See :meth:`ItemLog.put_items <twotower.store.ItemLog.put_items>`."""
        entries = checked_items(items, self.item_kind)
        if not entries:
            return self.last_item_change()
        return self._write(partial(add_item_changes, entries=entries))

    def remove_items(self, ids: Sequence[Id]) -> int:
        """See :meth:`ItemLog.remove_items <twotower.store.ItemLog.remove_items>`."""
        entries = checked_removals(ids, self.item_kind)
        if not entries:
            return self.last_item_change()
        return self._write(partial(add_item_changes, entries=entries))

    def item_changes(self, after: int = 0, *, limit: int | None = None) -> list[ItemChange]:
        """See :meth:`ItemLog.item_changes <twotower.store.ItemLog.item_changes>`."""
        check_after(after)
        check_count(limit, "limit")
        check_process(self._opened, self.path)
        with self._readers.lend() as connection:
            return read_item_changes(connection, self.path, after, limit)

    def last_item_change(self) -> int:
        """See :meth:`ItemLog.last_item_change <twotower.store.ItemLog.last_item_change>`."""
        return self._head().items_last

    def compact_items(self) -> int:
        """See :meth:`ItemLog.compact_items <twotower.store.ItemLog.compact_items>`.

        Others can write in between. What becomes free in the file is used for what is written next; the file does not shrink.
        """
        forgotten = 0
        for start in range(0, self.last_item_change(), _COMPACTED_AT_ONCE):
            forgotten += self._write(partial(forget_superseded, after=start, until=start + _COMPACTED_AT_ONCE))
        return forgotten

    def append(self, interactions: Sequence[Interaction]) -> int:
        """See :meth:`InteractionLog.append <twotower.store.InteractionLog.append>`."""
        checked = checked_interactions(interactions, self.user_kind, self.item_kind)
        if not checked:
            return self.last_interaction()
        return self._write(partial(add_interactions, interactions=checked))

    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        """See :meth:`InteractionLog.histories <twotower.store.InteractionLog.histories>`."""
        check_ids(users, self.user_kind, "user")
        check_count(latest, "latest")
        check_after(after)
        check_process(self._opened, self.path)
        with self._readers.lend() as connection:
            if len(users) == 1:
                return [read_history(connection, self.path, users[0], latest, after)]
            connection.execute("BEGIN")
            found = [read_history(connection, self.path, user, latest, after) for user in users]
            connection.execute("COMMIT")
            return found

    def interactions(self, after: int = 0, *, limit: int | None = None) -> list[LoggedInteraction]:
        """See :meth:`InteractionLog.interactions <twotower.store.InteractionLog.interactions>`."""
        check_after(after)
        check_count(limit, "limit")
        check_process(self._opened, self.path)
        with self._readers.lend() as connection:
            return read_interactions(connection, self.path, after, limit)

    def last_interaction(self) -> int:
        """See :meth:`InteractionLog.last_interaction <twotower.store.InteractionLog.last_interaction>`."""
        return self._head().interactions_last

    def version(self) -> int:
        """A number that rises with every change of either log, by whatever process; the same in all of them.

        Quick enough to be asked before every request.
        """
        head = self._head()
        return head.items_last + head.interactions_last

    def facts(self) -> StoreFacts:
        """How large the store is."""
        head = self._head()
        return StoreFacts(
            head.items_count,
            head.items_last,
            head.interactions_count,
            head.interactions_last,
            _size(self.path),
            _size(self._log),
        )

    def verify(self) -> None:
        """Read the whole file and hold it to itself; others can read and write meanwhile.

        Raises:
            CorruptStoreError: If it has changed since it was written.
            StoreError: If it can't be read.
        """
        check_process(self._opened, self.path)
        try:
            refuse_damage(self.path, self._wait_s)
        except SQLITE_ERRORS as error:
            raise store_error(error, self.path, "read") from error

    def _head(self) -> Head:
        check_process(self._opened, self.path)
        with self._readers.lend() as connection:
            return read_head(connection, self.path)

    def _write(self, job: _Job) -> int:
        check_process(self._opened, self.path)
        return self._commits.submit(job)

    def _commit(self, jobs: Sequence[_Job]) -> list[int]:
        writer = self._writer
        with write_lock(self.path, self._wait_s):
            self._refuse_replaced()
            try:
                writer.execute("BEGIN IMMEDIATE")
                head = read_head(writer, self.path)
                numbers = [job(writer, head) for job in jobs]
                write_head(writer, head)
                writer.execute("COMMIT")
                return numbers
            except SQLITE_ERRORS as error:
                raise store_error(error, self.path, "written") from error
            finally:
                if writer.in_transaction:
                    with contextlib.suppress(*SQLITE_ERRORS):  # SQLite has rolled back by itself
                        writer.execute("ROLLBACK")

    def _refuse_replaced(self) -> None:
        """What is written to a file that was deleted would be lost with the process."""
        try:
            status = self.path.stat()
            there = (status.st_dev, status.st_ino) == self._opened[:2]
        except FileNotFoundError:
            there = False
        if not there:
            raise StoreError(
                f"{self.path} was removed or replaced while it was open; nothing of this call was written; open it again"
            )

    def _checkpoint_if_due(self) -> None:
        """Copy the write-ahead log into the file and empty it, where it has grown enough and nobody is in the way."""
        # what was committed is safe in the log: that it could not be copied is no fault of a call, and is tried again
        with contextlib.suppress(*SQLITE_ERRORS, StoreError, OSError):
            if _size(self._log) >= self._checkpoint_at_bytes:
                self._checkpoint()

    def _checkpoint(self) -> None:
        writer = self._writer
        self._checkpoint_at_bytes = _size(self._log) + _CHECKPOINT_BYTES
        with write_lock(self.path, 0):
            writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            try:
                writer.execute(f"PRAGMA busy_timeout = {_READERS_WAIT_MS}")
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                writer.execute(f"PRAGMA busy_timeout = {round(self._wait_s * 1000)}")
        self._checkpoint_at_bytes = _size(self._log) + _CHECKPOINT_BYTES


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
