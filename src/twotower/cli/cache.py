"""``twotower cache``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from twotower.cache_root import cache_root
from twotower.cli.output import print_json, print_lines, print_table
from twotower.columnar.cached_tables import CachedTable, list_tables, old_tables, remove_tables
from twotower.errors import ConfigError

__all__ = ["cache_command"]


def cache_command(action: str, keys: Sequence[str], *, everything: bool, older_than: float | None, as_json: bool) -> None:
    """Print what the cache holds, or delete some of it."""
    root = cache_root(None)
    if action == "ls":
        if keys or everything or older_than is not None:
            raise ConfigError("cache ls takes no key, --all or --older-than: those say what cache rm deletes")
        tables = list_tables(root)
        if as_json:
            print_json([table.model_dump(mode="json") for table in tables])
        else:
            _print(tables, f"{root / 'columnar'}: {_count(tables)}")
        return
    ways = sum([bool(keys), everything, older_than is not None])
    if ways != 1:
        raise ConfigError("cache rm deletes by keys, --all or --older-than DAYS: give one of them")
    if everything:
        keys = [table.key for table in list_tables(root)]
    elif older_than is not None:
        keys = old_tables(root, older_than)
    removed = remove_tables(root, keys)
    kept = len(keys) - len(removed)
    if as_json:
        print_json({"removed": [table.key for table in removed], "in_use": kept})
        return
    print_lines(f"removed: {_count(removed)}")
    if kept:
        print_lines(f"left alone, for they are being converted: {kept}")


def _print(tables: Sequence[CachedTable], title: str) -> None:
    if not tables:
        print_lines(title)
        return
    header = ["key", "source", "rows", "columns", "MB", "written", "last used"]
    rows = [
        [
            table.key,
            (table.source or "?") + (f" (damaged: {table.damage})" if table.damage else ""),
            f"{table.rows:,}",
            str(table.columns),
            f"{table.size_bytes / 1e6:,.1f}",
            _when(table.written),
            _when(table.last_used),
        ]
        for table in tables
    ]
    print_table(title, header, rows, left=["key", "source", "written", "last used"])


def _count(tables: Sequence[CachedTable]) -> str:
    noun = "table" if len(tables) == 1 else "tables"
    return f"{len(tables):,} {noun}, {sum(table.size_bytes for table in tables) / 1e6:,.1f} MB"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
