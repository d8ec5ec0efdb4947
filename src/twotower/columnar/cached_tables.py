"""What the cache of converted tables holds, and how it is emptied."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from twotower.bundle.atomic import remove_leftovers
from twotower.columnar.manifest import MANIFEST, Manifest, find_damage, read_manifest
from twotower.columnar.source_key import cache_folder
from twotower.config import Config
from twotower.errors import ConfigError

__all__ = ["CachedTable", "list_tables", "old_tables", "remove_tables"]

_KEY = re.compile(r"[0-9a-f]{32}")
"""Names of the folders that are ours: the cache may be put where others keep theirs."""


class CachedTable(Config):
    """One converted table.

    Attributes:
        key: What it is known by; its folder's name.
        source: Where it came from; None where the folder does not say it any more.
        rows: Its rows.
        columns: Its columns.
        size_bytes: What it takes on the disk.
        written: When it was converted, Unix seconds.
        last_used: When it was last opened, Unix seconds.
        damage: What is wrong with it, in words; it is then converted again when it is needed. None: nothing.
    """

    key: str
    source: str | None
    rows: int
    columns: int
    size_bytes: int
    written: float
    last_used: float
    damage: str | None


def list_tables(cache_dir: Path) -> list[CachedTable]:
    """The converted tables of a cache, the last used first.

    Args:
        cache_dir: The folder of the cache, which need not exist.
    """
    root = cache_folder(cache_dir, "")
    folders = [entry for entry in root.iterdir() if _KEY.fullmatch(entry.name) and entry.is_dir()] if root.is_dir() else []
    return sorted(map(_describe, folders), key=lambda table: (-table.last_used, table.key))


def old_tables(cache_dir: Path, days: float) -> list[str]:
    """Keys of the tables that nobody opened for so many days.

    Args:
        cache_dir: The folder of the cache.
        days: At least 0.
    """
    before = time.time() - days * 86_400
    return [table.key for table in list_tables(cache_dir) if table.last_used < before]


def remove_tables(cache_dir: Path, keys: Collection[str]) -> list[CachedTable]:
    """Delete converted tables, and what killed conversions left.

    A process that has one open goes on reading it. One that is being converted is left alone.

    Args:
        cache_dir: The folder of the cache.
        keys: Keys, or the first characters of one, by which it can be told from the others.

    Returns:
        What was deleted.

    Raises:
        ConfigError: If a key fits none or several; nothing is deleted then.
    """
    tables = list_tables(cache_dir)
    chosen: dict[str, CachedTable] = {}
    faults: list[str] = []
    for key in keys:
        found = [table for table in tables if table.key.startswith(key)]
        if len(found) == 1:
            chosen[found[0].key] = found[0]
        else:
            hint = "; twotower cache ls shows them" if not found else f": {', '.join(table.key for table in found)}"
            faults.append(f"{key!r} must be the key of one table of the cache, and fits {len(found)}{hint}")
    if faults:
        raise ConfigError(faults)
    root = cache_folder(cache_dir, "")
    removed = [table for key, table in chosen.items() if _remove(root / key)]
    if root.is_dir():
        remove_leftovers(root)
    return removed


def _describe(folder: Path) -> CachedTable:
    manifest = read_manifest(folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if not isinstance(manifest, Manifest):
        time_s = folder.stat().st_mtime
        return CachedTable(
            key=folder.name,
            source=None,
            rows=0,
            columns=0,
            size_bytes=size,
            written=time_s,
            last_used=time_s,
            damage=manifest or "its manifest is missing",
        )
    return CachedTable(
        key=folder.name,
        source=manifest.source,
        rows=manifest.rows,
        columns=len(manifest.columns),
        size_bytes=size,
        written=manifest.written,
        last_used=(folder / MANIFEST).stat().st_mtime,
        damage=find_damage(folder, manifest),
    )


def _remove(folder: Path) -> bool:
    """Delete a table unless it is being converted."""
    lock = folder.parent / f"{folder.name}.lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(folder)
        lock.unlink()
        return True
    finally:
        os.close(descriptor)
