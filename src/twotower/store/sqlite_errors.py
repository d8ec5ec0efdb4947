"""From what SQLite says to what the caller can do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twotower.errors import CorruptStoreError, StoreBusyError, StoreError

__all__ = ["RESTORE", "SQLITE_ERRORS", "store_error"]

RESTORE = "restore it from a backup, or move it away and start with a new store"
"""What to do with a store that is damaged."""

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; the latter where the message about damage quotes the damaged bytes."""

# results of SQLite (https://sqlite.org/rescode.html) without what refines them; sqlite3 names them from Python 3.11 on, partly
_PRIMARY = 0xFF
_BUSY = {5, 6}
_READ_ONLY = {3, 8, 23}
_IO = 10
_DAMAGE = {11, 19, 20}
_NO_DATABASE = 26
_FULL = 13
_CANT_OPEN = 14
_TOO_BIG = 18


def store_error(error: sqlite3.Error | UnicodeDecodeError, path: Path, doing: str) -> StoreError:
    """What to raise in place of an error of SQLite.

    Args:
        error: What SQLite said.
        path: The store's file.
        doing: What was being done: ``read``, ``written`` or ``opened``.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY
    lost = "; nothing of this call was written" if doing == "written" else ""
    if primary in _BUSY:
        return StoreBusyError(f"{path} is held by somebody else for too long ({error}){lost}; try again")
    if primary in _DAMAGE or isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error):
        return CorruptStoreError(f"{path} can't be {doing}: its contents are damaged ({error}){lost}; {RESTORE}")
    if primary == _NO_DATABASE:
        return CorruptStoreError(
            f"{path} is not a live store of twotower, or its beginning is damaged ({error}){lost}; choose another path, "
            f"or {RESTORE}"
        )
    if primary == _FULL:
        return StoreError(f"{path} can't be {doing}: the disk is full{lost}; make space and try again")
    if primary == _IO:
        return StoreError(f"{path} can't be {doing}: the disk failed ({error}){lost}; check the disk and its space")
    if primary in _READ_ONLY:
        return StoreError(f"{path} can't be {doing}: it or its folder is read-only{lost}; check the permissions")
    if primary == _CANT_OPEN:
        return StoreError(f"{path} can't be opened ({error}){lost}; check that it is there, and the permissions of its folder")
    if primary == _TOO_BIG:
        return StoreError(f"{path} can't hold a record of this size ({error}){lost}; write smaller ones")
    return StoreError(f"{path} can't be {doing}: {error}{lost}")
