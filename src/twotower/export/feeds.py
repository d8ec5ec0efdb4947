"""From raw rows to the inputs of an exported tower, by its signature and what lies beside it.

Nothing of the preprocessing is used here: it is what anybody writes who serves an export, in whatever language. Exports are
checked by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tokenizers import Tokenizer

from twotower.errors import DataError
from twotower.export.signature import (
    HashLookup,
    NumberInput,
    PartSplit,
    RowInput,
    RowsInput,
    SeparatorSplit,
    TextSplit,
    TowerSignature,
    VectorInput,
    VocabularyLookup,
)
from twotower.types import Id

__all__ = ["Feeds"]

_TEXTS = (pl.String, pl.Categorical, pl.Enum)


@final
class Feeds:
    """Makes the inputs of a tower.

    Args:
        folder: The export.
        tower: What its signature says of the tower.
    """

    def __init__(self, folder: Path, tower: TowerSignature) -> None:
        self._folder = folder
        self._tower = tower
        self._tables: dict[str, pl.DataFrame] = {}
        self._tokenizers: dict[str, Tokenizer] = {}

    def of(self, frame: pl.DataFrame, histories: Sequence[Sequence[Id]] | None = None) -> dict[str, NDArray[Any]]:
        """Every input by its name.

        Args:
            frame: Raw columns, nulls where a value is missing, ``[B]``.
            histories: Item ids, the most recent last, ``[B]``; of a tower that reads them.

        Raises:
            DataError: If a value is missing that must not be.
        """
        feeds: dict[str, NDArray[Any]] = {}
        for entry in self._tower.inputs:
            if isinstance(entry, NumberInput):
                feeds[entry.name] = _numbers(frame[entry.column])
            elif isinstance(entry, VectorInput):
                feeds[entry.name] = _vectors(frame[entry.column], int(entry.shape[1]))
            elif isinstance(entry, RowInput):
                feeds[entry.name] = self._row(entry, frame[entry.column])
            else:
                feeds[entry.name] = self._rows(entry, _lists(entry, frame, histories))
        return feeds

    def _row(self, entry: RowInput, values: pl.Series) -> NDArray[np.int64]:
        if isinstance(entry.split, PartSplit):
            parts = values.cast(pl.String).str.split(entry.split.separator).list.get(entry.split.part, null_on_oob=True)
            values = parts.set(parts == "", None)
        missing = values.is_null().to_numpy()
        if missing.any() and entry.missing_row is None:
            raise DataError(f"{entry.column!r} must not be missing; it is in row {int(np.argmax(missing))}")
        rows = self._looked_up(entry.lookup, values)
        rows[missing] = entry.missing_row or 0
        return rows

    def _rows(self, entry: RowsInput, values: pl.Series) -> NDArray[np.int64]:
        missing = values.is_null().to_numpy()
        if isinstance(entry.split, TextSplit):
            tokenizer = self._tokenizer(entry.split.tokenizer)
            found = [[] if text is None else tokenizer.encode(text, add_special_tokens=False).ids for text in values]
            return _padded(found, missing, entry)
        if isinstance(entry.split, SeparatorSplit):
            pieces = values.cast(pl.String).str.split(entry.split.separator).list.eval(pl.element().str.strip_chars())
            values = pieces.list.eval(pl.element().filter(pl.element() != ""))
        lines = pl.DataFrame({"line": np.arange(len(values)), "value": values}).explode("value").drop_nulls("value")
        rows = pl.Series(self._looked_up(entry.lookup, lines["value"]))
        found = [[] for _ in range(len(values))]
        for line, row in zip(lines["line"].to_list(), rows.to_list(), strict=True):
            if row >= 0:
                found[line].append(row)
        return _padded(found, missing, entry)

    def _looked_up(self, lookup: VocabularyLookup | HashLookup, values: pl.Series) -> NDArray[np.int64]:
        """The row of each value, -1 for one that is left out."""
        if isinstance(lookup, HashLookup):
            digests = (
                blake2b(str(value).encode(), digest_size=lookup.digest_bytes).digest() for value in values.cast(pl.String)
            )
            hashes = (int.from_bytes(digest, lookup.byte_order) % lookup.buckets + lookup.first_row for digest in digests)
            return np.fromiter(hashes, dtype=np.int64, count=len(values))
        table = self._table(lookup.file)
        came = values.cast(pl.String if lookup.values == "text" else pl.Int64).rename("value").to_frame()
        found = came.join(table, on="value", how="left", maintain_order="left")["row"]
        return found.fill_null(-1 if lookup.unknown_row is None else lookup.unknown_row).to_numpy(writable=True)

    def _table(self, file: str) -> pl.DataFrame:
        if file not in self._tables:
            self._tables[file] = pl.read_parquet(self._folder / file)
        return self._tables[file]

    def _tokenizer(self, file: str) -> Tokenizer:
        if file not in self._tokenizers:
            self._tokenizers[file] = Tokenizer.from_file(str(self._folder / file))
        return self._tokenizers[file]


def _numbers(values: pl.Series) -> NDArray[np.float64]:
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        return values.dt.epoch("us").cast(pl.Float64).to_numpy(writable=True) / 1e6
    numbers: NDArray[np.float64] = values.cast(pl.Float64).to_numpy(writable=True)
    return numbers


def _vectors(values: pl.Series, width: int) -> NDArray[np.float64]:
    lists = values.cast(pl.List(pl.Float64)).to_list()
    rows = [[np.nan] * width if one is None else one for one in lists]
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _lists(entry: RowsInput, frame: pl.DataFrame, histories: Sequence[Sequence[Id]] | None) -> pl.Series:
    if entry.column is not None:
        values = frame[entry.column]
        return values.cast(pl.String) if isinstance(values.dtype, _TEXTS) else values
    assert isinstance(entry.lookup, VocabularyLookup)
    inner = pl.String() if entry.lookup.values == "text" else pl.Int64()
    return pl.Series([list(line) for line in histories or []], dtype=pl.List(inner))


def _padded(found: list[list[int]], missing: NDArray[np.bool_], entry: RowsInput) -> NDArray[np.int64]:
    lines = [list(entry.missing_rows) if gone else line for line, gone in zip(found, missing, strict=True)]
    padded = np.full((len(lines), max(map(len, lines), default=0)), entry.padding, dtype=np.int64)
    for row, line in enumerate(lines):
        padded[row, : len(line)] = line
    return padded
