"""A store does not cross a fork.

Locks on files belong to a process, but what SQLite remembers of the locks that it holds is copied to a forked one: it would go
on as if it held them, and so would a connection that it opens itself to the same file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from twotower.errors import StoreError

__all__ = ["OpenFile", "check_process", "note_closed", "note_open"]

_INSTEAD = "open it in each process after the fork, or start processes with 'spawn'"


class OpenFile(NamedTuple):
    """A store's file that a process has open: device, number of the file, number of the process."""

    device: int
    inode: int
    process: int


_open: list[OpenFile] = []  # one entry per open store; appending and removing are single steps


def note_open(path: Path) -> OpenFile:
    """Note that this process opens a store.

    Raises:
        StoreError: If the process that this one was forked from had it open then.
    """
    status = path.stat()
    here = OpenFile(status.st_dev, status.st_ino, os.getpid())
    for other in _open:
        if other[:2] == here[:2] and other.process != here.process:
            raise StoreError(
                f"{path} was open in process {other.process} when it forked process {here.process}, and can't be opened here; "
                f"{_INSTEAD}"
            )
    _open.append(here)
    return here


def note_closed(file: OpenFile) -> None:
    """Note that a store was closed by the process that opened it."""
    _open.remove(file)


def check_process(file: OpenFile, path: Path) -> None:
    """Refuse to use a store in a process that was forked from the one that opened it.

    Raises:
        StoreError: If this is another process.
    """
    if os.getpid() != file.process:
        raise StoreError(
            f"{path} was opened by process {file.process} and can't be used in process {os.getpid()}, which was forked from "
            f"it; {_INSTEAD}"
        )
