"""Columns of text: one dictionary over all batches, and codes in the narrowest type that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.columnar.bits import BitFile
from twotower.columnar.manifest import ColumnEntry
from twotower.data.fill import FillValue, fill_value

__all__ = ["TextWriter"]

_CHUNK = 1 << 20
_NULL = np.uint32(0xFFFFFFFF)


class TextWriter:
    """Writes codes in order of first appearance, and at the end those of the sorted dictionary.

    Args:
        name: The column.
        folder: Where the files are written.
        stem: Start of their names.
    """

    def __init__(self, name: str, folder: Path, stem: str) -> None:
        self.name, self.folder, self.stem = name, folder, stem
        self.rows = self.nulls = 0
        self.dtype = pl.Categorical(pl.Categories.random(namespace="twotower.columnar", physical=pl.UInt32))
        self._distinct = 0
        # the dictionary lives as long as a column that uses it
        self._anchor = pl.Series([], dtype=self.dtype)
        self._spool = folder / f"{stem}.spool"
        self._codes = self._spool.open("xb")

    def append(self, column: pl.Series) -> None:
        """Write a batch of text, or of `dtype`."""
        codes = column.cast(self.dtype).to_physical()
        self.nulls += codes.null_count()
        if codes.null_count() < len(codes):
            self._distinct = max(self._distinct, int(cast("int", codes.max())) + 1)
        codes.fill_null(int(_NULL)).to_numpy().tofile(self._codes)
        self.rows += len(column)

    def append_coded(self, parts: Iterable[pl.Series], categories: pl.Series) -> None:
        """Write text of which every value has a number already; the dictionary is looked up once for each that may occur.

        Args:
            parts: The numbers, nulls where there is nothing.
            categories: String: what each number stands for, all of which occur.
        """
        codes = categories.cast(self.dtype).to_physical()
        if len(codes):
            self._distinct = max(self._distinct, int(cast("int", codes.max())) + 1)
        code_of = np.append(codes.to_numpy().astype(np.uint32), _NULL)
        for part in parts:
            self.nulls += part.null_count()
            code_of[part.cast(pl.UInt32).fill_null(len(codes)).to_numpy()].tofile(self._codes)
            self.rows += len(part)

    def append_missing(self, count: int) -> None:
        """Write so many nulls."""
        self.nulls += count
        self.rows += count
        while count > 0:
            part = min(count, _CHUNK)
            np.full(part, _NULL).tofile(self._codes)
            count -= part

    def close(self) -> None:
        """Close the file of codes."""
        self._codes.close()

    def finish(self, fill: FillValue | None, *, noun: str) -> ColumnEntry:
        """Write the dictionary, sorted, and the codes; missing values are filled where that is declared.

        Raises:
            TableReadError: If the fill is not text.
        """
        self.close()
        value = None if fill is None else str(fill_value(fill, pl.String(), self.name, noun=noun))
        # by way of codes: polars gives the categories themselves one by one
        values = pl.int_range(self._distinct, dtype=pl.UInt32, eager=True).cat.to(self.dtype).cast(pl.String).alias(self.name)
        if value is not None and self.nulls and value not in values:
            values = pl.concat([values, pl.Series(self.name, [value])])
        # the dictionary of this column goes before that of the next one is sorted
        self._anchor = pl.Series([], dtype=pl.Null)
        order = values.arg_sort()
        values = values.gather(order)
        code_of = np.empty(len(values) + 1, dtype=np.uint32)
        code_of[order.to_numpy()] = np.arange(len(values), dtype=np.uint32)
        code_of[len(values)] = 0 if value is None or not self.nulls else values.search_sorted(value)
        del order
        dictionary = self.folder / f"{self.stem}.categories"
        values.rename("categories").to_frame().write_ipc(dictionary, compression="uncompressed")
        dtype = narrowest(len(values))
        codes, valid = self._write_codes(code_of, dtype, keep_nulls=value is None)
        self._spool.unlink()
        return ColumnEntry(
            name=self.name,
            kind="text",
            dtype=str(dtype),
            stem=self.stem,
            nulls=0 if value is not None else self.nulls,
            categories=len(values),
            filled=None if value is None else self.nulls,
            files={path.name: path.stat().st_size for path in (codes, valid, dictionary) if path.exists()},
        )

    def _write_codes(self, code_of: NDArray[np.uint32], dtype: pl.DataType, *, keep_nulls: bool) -> tuple[Path, Path]:
        codes, valid = self.folder / f"{self.stem}.values", self.folder / f"{self.stem}.valid"
        narrow = pl.Series([], dtype=dtype).to_numpy().dtype
        with ExitStack() as opened:
            spool = opened.enter_context(self._spool.open("rb"))
            target = opened.enter_context(codes.open("xb"))
            bits = opened.enter_context(closing(BitFile(valid))) if keep_nulls and self.nulls else None
            while len(part := np.fromfile(spool, np.uint32, _CHUNK)):
                missing = part == _NULL
                part[missing] = len(code_of) - 1
                code_of[part].astype(narrow).tofile(target)
                if bits is not None:
                    bits.append(~missing)
        return codes, valid


def narrowest(categories: int) -> pl.DataType:
    """The type in which polars keeps the codes of an Enum.

    Args:
        categories: How many it has.
    """
    if categories <= 255:
        return pl.UInt8()
    return pl.UInt16() if categories <= 65_535 else pl.UInt32()
