"""Opening a table that is too large to be read at every start: it is converted once, and then mapped."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from twotower.bundle.atomic import atomic_folder, remove_leftovers
from twotower.columnar.convert import convert, require_wanted
from twotower.columnar.manifest import MANIFEST, Manifest, find_damage, read_manifest
from twotower.columnar.parts import Divide, convert_in_parts
from twotower.columnar.progress import ConversionClock, Converting
from twotower.columnar.source_key import cache_folder, source_key
from twotower.columnar.stored_column import map_categories, map_column
from twotower.data.source_files import SourceFile, find_files
from twotower.data.table import TableConfig
from twotower.data.table_report import TableReport
from twotower.errors import TableReadError

__all__ = ["ColumnarTable", "open_table"]

_FIRST_TIME = "converted for the first time"


@dataclass(frozen=True, eq=False)
class ColumnarTable:
    """A converted table.

    Attributes:
        frame: The wanted columns in the order of the source, one chunk each, in files that are mapped into memory: a value is
            read when it is used. Text is an ``Enum`` whose categories are sorted and all occur; from text files, numbers are
            Int64, Float64 or (declared) Float32; booleans and ``Datetime("us")``. Parquet columns keep their types.
        key: What the table is known by in the cache: a hash of its source and of how it is read.
        report: What was left out, filled in, and not asked for.
        folder: Where it is kept.
        converted: Why it was converted just now, in words; None where the cache had it.
        categories: By column of text, its distinct values, sorted. Unlike those of the Enum they stay in the file.
    """

    frame: pl.DataFrame
    key: str
    report: TableReport
    folder: Path
    converted: str | None
    categories: Mapping[str, pl.Series]


def open_table(
    config: TableConfig,
    *,
    noun: str,
    base_dir: Path | None,
    cache_dir: Path,
    columns: Sequence[str] | None = None,
    listener: Callable[[Converting], None] | None = None,
    divide: Divide | None = None,
) -> ColumnarTable:
    """Open a table through the cache; a source that is not there yet, or has changed, is converted first.

    The cache knows a source by its files (path, size, time of writing, first and last megabyte) and by how it is read. Columns
    that are asked for later are added by converting again, with those that were there. A folder is written beside its place and
    renamed when it is whole; what a killed process left is removed by the next one that converts, and of several processes that
    open the same table at once, one converts and the others wait. A file that is not as long as it was written is noticed, and
    the table is converted again.

    Args:
        config: Where the table lies and how it is read.
        noun: What it is called in an error, for instance ``"interactions"``.
        base_dir: Folder that a relative path starts from; None: the working directory.
        cache_dir: Folder of the cache; the table is kept in ``columnar/KEY`` below it.
        columns: Columns that are wanted; None: all. The others are named in the report.
        listener: Is told how far a conversion is, a few times a second.
        divide: Processes that convert a source of many files together, where they see the cache; None: this one does.

    Raises:
        TableReadError: If the source can't be read, has no rows, lacks a wanted column or has changed meanwhile, or the cache
            can't be written.
        MissingExtraError: If the package for a URL is not installed.
    """
    files = find_files(config.source(base_dir), noun=noun)
    key = source_key(files, config, noun=noun)
    folder = cache_folder(cache_dir, key)
    name = f"{noun} {files[0].name}"
    found = _stored(folder, columns, config, name)
    converted: str | None = None
    if isinstance(found, str):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _lock(folder, listener):
                # another process may have converted it while this one waited
                found = _stored(folder, columns, config, name)
                if isinstance(found, str):
                    converted = found
                    found = _convert(files, config, folder, key, columns, noun, base_dir, converted, listener, divide)
        except OSError as error:
            raise TableReadError(
                f"{name}: its columns can't be written to {folder.parent} ({error.strerror or error}); free some space, or "
                "choose another cache folder (TWOTOWER_CACHE)"
            ) from None
    with suppress(OSError):  # a cache that can only be read is as good
        os.utime(folder / MANIFEST)
    manifest, series = found
    report = TableReport(
        rows=manifest.rows,
        skipped=manifest.skipped,
        ignored=tuple(column for column in manifest.all_columns if columns is not None and column not in columns),
        filled={e.name: e.filled for e in manifest.columns if e.filled is not None and (columns is None or e.name in columns)},
    )
    categories = {
        each.name: map_categories(folder, each)
        for each in manifest.columns
        if each.kind == "text" and (columns is None or each.name in columns)
    }
    return ColumnarTable(pl.DataFrame(series), key, report, folder, converted, categories)


def _stored(
    folder: Path, columns: Sequence[str] | None, config: TableConfig, name: str
) -> tuple[Manifest, list[pl.Series]] | str:
    """What the cache has, or why it has to be converted."""
    manifest = read_manifest(folder)
    if manifest is None:
        return _FIRST_TIME
    if isinstance(manifest, str):
        return f"converted again: in the cache {manifest}"
    if columns is not None:
        require_wanted(columns, manifest.all_columns, config.separator, noun=name)
    wanted = [entry for entry in manifest.columns if columns is None or entry.name in columns]
    if len(wanted) < len(manifest.all_columns if columns is None else set(columns)):
        return "converted again, with the columns that were not wanted before"
    damage = find_damage(folder, manifest)
    if damage is not None:
        return f"converted again: in the cache {damage}"
    try:
        return manifest, [map_column(folder, entry, manifest.rows) for entry in wanted]
    except ValueError as error:
        return f"converted again: the cache is damaged ({error})"


def _convert(
    files: list[SourceFile],
    config: TableConfig,
    folder: Path,
    key: str,
    columns: Sequence[str] | None,
    noun: str,
    base_dir: Path | None,
    why: str,
    listener: Callable[[Converting], None] | None,
    divide: Divide | None,
) -> tuple[Manifest, list[pl.Series]]:
    remove_leftovers(folder.parent)
    clock = ConversionClock(listener, sum(file.size for file in files), why, again=why != _FIRST_TIME)
    clock.tell(0, 0)
    before = read_manifest(folder)
    stored = [entry.name for entry in before.columns] if isinstance(before, Manifest) else []
    wanted = None if columns is None else [*columns, *(name for name in stored if name not in columns)]
    with atomic_folder(folder) as temporary:
        divisible = divide is not None and len(files) > 1 and len({file.kind for file in files}) == 1
        if divide is not None and divisible and (parts := divide.ready(temporary)) > 1:
            convert_in_parts(
                files,
                config,
                temporary,
                key=key,
                wanted=wanted,
                noun=noun,
                base_dir=base_dir,
                clock=clock,
                divide=divide,
                parts=parts,
            )
        else:
            convert(files, config, temporary, key=key, wanted=wanted, noun=noun, clock=clock)
        if source_key(find_files(config.source(base_dir), noun=noun), config, noun=noun) != key:
            raise TableReadError(f"{noun} {files[0].name}: the source changed while it was read; start again when it is whole")
    found = _stored(folder, columns, config, noun)
    assert not isinstance(found, str), found
    return found


@contextmanager
def _lock(folder: Path, listener: Callable[[Converting], None] | None) -> Iterator[None]:
    """One process at a time; the lock goes with the process, whatever becomes of it."""
    descriptor = os.open(folder.parent / f"{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if listener is not None:
                listener(Converting(0, 0, 0, 0.0, "waiting for another process that converts the same table"))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
