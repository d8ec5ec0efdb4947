"""One writer at a time among all processes, by a lock on a file beside the store.

SQLite has locks of its own, and they hold as well. This one is there because checkpoints have to keep away from commits: in
nearly all versions of SQLite before 3.51.3, a checkpoint that begins in the instant in which a commit starts the write-ahead
log anew can lose that commit (https://sqlite.org/wal.html#walresetbug). Whoever commits or checkpoints holds this lock. The
system takes it from a process that dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from twotower.errors import StoreBusyError, StoreError

__all__ = ["write_lock"]

_SHORTEST_S = 0.0001
_LONGEST_S = 0.001


@contextlib.contextmanager
def write_lock(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of a store's writers; among threads as well as among processes.

    Args:
        path: The store's file; the lock is a file beside it, ``<name>-lock``, which is made and stays.
        wait_s: How long to wait for another writer, seconds.

    Raises:
        StoreBusyError: If another writer held it all the time.
        StoreError: If the lock's file can't be made.
    """
    beside = path.with_name(path.name + "-lock")
    try:
        # anew each time: a process that is forked off while it is held must not go on holding it
        lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(
            f"{path} can't be written: {beside} can't be opened: {error.strerror}; check that the folder is there, its "
            f"permissions, and the space on the disk"
        ) from error
    try:
        _acquire(lock, path, wait_s)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


def _acquire(lock: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    pause = _SHORTEST_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise StoreError(
                f"{path} can't be locked: {error.strerror}; a store needs a local file system that knows locks (flock)"
            ) from error
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreBusyError(
                f"{path} can't be written: another process has been writing for {wait_s:g} s; nothing of this call was "
                f"written; try again"
            )
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_S)
