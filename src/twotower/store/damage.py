"""Whether a store's file is what was written, from its pages to its counts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from twotower.errors import CorruptStoreError
from twotower.store.connections import connect
from twotower.store.head import read_head
from twotower.store.sqlite_errors import RESTORE

__all__ = ["refuse_damage"]

_FOUND = "SELECT count(*), coalesce(sum(checksum), 0), coalesce(max(sequence), 0) FROM {log} NOT INDEXED"
_CACHE_KB = 64 << 10


def refuse_damage(path: Path, wait_s: float) -> None:
    """Read the whole file and hold it to itself, as it is at one moment.

    The structure of all pages, every entry of every index to its row, and the number of records of both logs, the sum of their
    checksums and the last sequence to the head. So no record can be missing, come twice, or be found under another user or item
    than its own; what a record says is held to its checksum whenever it is read.

    Raises:
        CorruptStoreError: If anything differs.
        sqlite3.Error: As SQLite says it.
    """
    with contextlib.closing(connect(path, wait_s=wait_s, reads_only=True)) as connection:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")  # entries are looked up in no order
        connection.execute("BEGIN")
        head = read_head(connection, path)
        (fault,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if fault != "ok":
            raise CorruptStoreError(f"{path} is damaged ({' '.join(fault.split())}); {RESTORE}")
        for log, left in (
            ("item_changes", (head.items_count, head.items_sum, head.items_last)),
            ("interactions", (head.interactions_count, head.interactions_sum, head.interactions_last)),
        ):
            found = connection.execute(_FOUND.format(log=log)).fetchone()
            if found != left:
                raise CorruptStoreError(
                    f"{path} is damaged: {log} has {found[0]:,} records up to {found[2]:,}, with checksums of {found[1]:,} "
                    f"in all, and was left with {left[0]:,} up to {left[2]:,}, of {left[1]:,}; {RESTORE}"
                )
