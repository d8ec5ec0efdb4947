"""From the files of a column to a polars Series that reads them where they lie."""

from __future__ import annotations

import mmap
import weakref
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
from polars.exceptions import PolarsError

from twotower.columnar.manifest import ColumnEntry

__all__ = ["map_categories", "map_codes", "map_column", "release_pages"]

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def release_pages() -> None:
    """Give back the memory of all columns that are mapped, until a value is read again.

    Pages that were read count as memory of the process for as long as the system likes; they are the system's copy of the
    files, and are read from it again in no time.
    """
    if hasattr(mmap, "MADV_DONTNEED"):
        for each in list(_maps):
            each.madvise(mmap.MADV_DONTNEED)


def map_column(folder: Path, entry: ColumnEntry, rows: int) -> pl.Series:
    """A column whose values stay in the file until they are read.

    Args:
        folder: Where its files are.
        entry: What they hold.
        rows: How many values.

    Returns:
        One chunk. Text is an Enum with sorted categories, all of which occur.

    Raises:
        ValueError: If the files do not hold what the entry says.
    """
    try:
        return _mapped(folder, entry, rows).alias(entry.name)
    except (PolarsError, pa.ArrowException, OSError) as error:
        raise ValueError(f"column {entry.name!r}: {error}") from None


def map_codes(folder: Path, entry: ColumnEntry, rows: int) -> pl.Series:
    """The codes of a column of text, without their meaning: unsigned integers, nulls where there is nothing.

    Args:
        folder: Where its files are.
        entry: What they hold.
        rows: How many values.
    """
    return _numbers(folder, entry, rows).alias(entry.name)


def map_categories(folder: Path, entry: ColumnEntry) -> pl.Series:
    """The categories of a column of text: String, sorted, in several chunks, which stay in the file.

    Args:
        folder: Where its files are.
        entry: What they hold.
    """
    table = pa.ipc.open_file(_map(folder / f"{entry.stem}.categories")).read_all()
    return pl.Series(entry.name, pl.from_arrow(table.column(0)))


def _mapped(folder: Path, entry: ColumnEntry, rows: int) -> pl.Series:
    if entry.kind == "null":
        return pl.Series([None], dtype=pl.Null).new_from_index(0, rows)
    if entry.kind == "arrow":
        table = pa.ipc.open_file(pa.memory_map(str(folder / f"{entry.stem}.arrow"))).read_all()
        return pl.Series(entry.name, pl.from_arrow(table.column(0)))
    column = _numbers(folder, entry, rows)
    if entry.kind == "text":
        categories = map_categories(folder, entry)
        if len(categories) != entry.categories:
            raise ValueError(f"column {entry.name!r}: {len(categories):,} categories in place of {entry.categories:,}")
        return column.cat.to(pl.Enum(categories))
    if entry.logical is None:
        return column
    kind: Any = getattr(pl, entry.logical)
    if entry.logical == "Datetime":
        return column.cast(pl.Datetime(entry.unit or "us", entry.zone))
    return column.cast(pl.Duration(entry.unit or "us") if entry.logical == "Duration" else kind())


def _numbers(folder: Path, entry: ColumnEntry, rows: int) -> pl.Series:
    physical: pl.DataType = getattr(pl, entry.dtype)()
    values = _map(folder / f"{entry.stem}.values")
    valid = _map(folder / f"{entry.stem}.valid") if entry.nulls else None
    arrow_type = pl.Series([], dtype=physical).to_arrow().type
    array = pa.Array.from_buffers(arrow_type, rows, [valid, values], null_count=entry.nulls)
    return pl.Series(entry.name, pl.from_arrow(array))


def _map(path: Path) -> pa.Buffer:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(mapped)
    return pa.py_buffer(mapped)
