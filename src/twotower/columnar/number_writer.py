"""Columns of numbers, dates and booleans: values one behind the other, and bits for those that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.columnar.bits import BitFile
from twotower.columnar.manifest import ColumnEntry
from twotower.data.fill import FillValue, fill_value

__all__ = ["BooleanWriter", "NumberWriter"]

_CHUNK = 1 << 20


class _Validity:
    """Bits of what is there; a file only once something is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nulls = 0
        self._rows = 0
        self._bits: BitFile | None = None

    def append(self, column: pl.Series) -> None:
        nulls = column.null_count()
        if nulls and self._bits is None:
            self._bits = BitFile(self.path)
            self._bits.append_same(True, self._rows)
        if self._bits is not None:
            self._bits.append(column.is_not_null().to_numpy())
        self._rows += len(column)
        self.nulls += nulls

    def close(self) -> None:
        if self._bits is not None:
            self._bits.close()

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.nulls = 0


class NumberWriter:
    """Writes numbers, dates and times as their physical values; nulls are 0 and marked in a second file.

    Args:
        name: The column.
        dtype: Type of every batch; integers become floats where `widen` says so.
        folder: Where the files are written.
        stem: Start of their names.
    """

    def __init__(self, name: str, dtype: pl.DataType, folder: Path, stem: str) -> None:
        self.name, self.dtype, self.folder, self.stem = name, dtype, folder, stem
        self.path = folder / f"{stem}.values"
        self.rows = 0
        self.physical = pl.Series([], dtype=dtype).to_physical().dtype
        self._values = self.path.open("xb")
        self._validity = _Validity(folder / f"{stem}.valid")

    def append(self, column: pl.Series) -> None:
        """Write a batch of this type."""
        column.to_physical().fill_null(0).to_numpy().tofile(self._values)
        self._validity.append(column)
        self.rows += len(column)

    def append_missing(self, count: int) -> None:
        """Write so many nulls."""
        while count > 0:
            part = min(count, _CHUNK)
            self.append(pl.Series(self.name, [None], dtype=self.dtype).new_from_index(0, part))
            count -= part

    def widen(self) -> None:
        """Turn what was written as Int64 into Float64, in place."""
        self._values.flush()
        if self.rows:
            whole = np.memmap(self.path, np.int64, "r+", shape=(self.rows,))
            floats = whole.view(np.float64)
            for start in range(0, self.rows, _CHUNK):
                floats[start : start + _CHUNK] = np.array(whole[start : start + _CHUNK]).astype(np.float64)
            whole.flush()
        self.dtype = self.physical = pl.Float64()

    def close(self) -> None:
        """Close the files."""
        self._values.close()
        self._validity.close()

    def discard(self) -> None:
        """Remove what was written."""
        self.close()
        self.path.unlink()
        self._validity.drop()

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Close the files, with missing values filled where that is declared.

        Raises:
            TableReadError: If the fill is not of the column's type.
        """
        self.close()
        value = None if fill is None else fill_value(fill, self.dtype, self.name, noun=noun)
        filled = None if value is None else self._fill(value)
        logical = self.dtype if self.dtype != self.physical else None
        files = {path.name: path.stat().st_size for path in (self.path, self._validity.path) if path.exists()}
        return ColumnEntry(
            name=self.name,
            kind="number",
            dtype=str(self.physical),
            logical=None if logical is None else str(type(logical).__name__),
            unit=getattr(logical, "time_unit", None),
            zone=getattr(logical, "time_zone", None),
            stem=self.stem,
            nulls=self._validity.nulls,
            filled=filled,
            files=files,
        )

    def _fill(self, value: FillValue) -> int:
        if not self.rows:
            return 0
        dtype = pl.Series([], dtype=self.physical).to_numpy().dtype
        values = np.memmap(self.path, dtype, "r+", shape=(self.rows,))
        bits = np.memmap(self._validity.path, np.uint8, "r") if self._validity.nulls else None
        filled = 0
        for start in range(0, self.rows, _CHUNK):
            part = values[start : start + _CHUNK]
            missing = np.isnan(part) if dtype.kind == "f" else np.zeros(len(part), dtype=np.bool_)
            if bits is not None:
                packed = bits[start // 8 : (start + _CHUNK) // 8]
                missing |= ~np.unpackbits(packed, count=len(part), bitorder="little").astype(np.bool_)
            part[missing] = value
            filled += int(missing.sum())
        values.flush()
        self._validity.drop()
        return filled


class BooleanWriter:
    """Writes booleans as packed bits.

    Args:
        name: The column.
        folder: Where the files are written.
        stem: Start of their names.
    """

    def __init__(self, name: str, folder: Path, stem: str) -> None:
        self.name, self.folder, self.stem = name, folder, stem
        self.path = folder / f"{stem}.values"
        self._bits = BitFile(self.path)
        self._validity = _Validity(folder / f"{stem}.valid")

    def append(self, column: pl.Series) -> None:
        """Write a batch of booleans."""
        self._bits.append(column.fill_null(False).to_numpy())
        self._validity.append(column)

    def close(self) -> None:
        """Close the files."""
        self._bits.close()
        self._validity.close()

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Close the files, with missing values filled where that is declared.

        Raises:
            TableReadError: If the fill is not a boolean.
        """
        self.close()
        value = None if fill is None else fill_value(fill, pl.Boolean(), self.name, noun=noun)
        filled = None if value is None else self._validity.nulls
        if filled:
            bits: NDArray[np.uint8] = np.fromfile(self.path, np.uint8)
            present = np.fromfile(self._validity.path, np.uint8)
            (bits | ~present if value else bits & present).tofile(self.path)
        if value is not None:
            self._validity.drop()
        files = {path.name: path.stat().st_size for path in (self.path, self._validity.path) if path.exists()}
        return ColumnEntry(
            name=self.name,
            kind="boolean",
            dtype="Boolean",
            stem=self.stem,
            nulls=self._validity.nulls,
            filled=filled,
            files=files,
        )
