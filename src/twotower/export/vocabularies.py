"""The vocabularies beside the graphs: which row a value has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Vocabularies"]

_FOLDER = "vocabulary"


class Vocabularies:
    """Files in the folder ``vocabulary``; what several features have in common is there once.

    Args:
        folder: Of the export.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> vocabularies = Vocabularies(Path(folder.name))
        >>> vocabularies.put("city", pl.Series(["Oslo", "Rome"]), np.array([1, 2]))
        'vocabulary/city.parquet'
        >>> vocabularies.put("town", pl.Series(["Oslo", "Rome"]), np.array([1, 2]))
        'vocabulary/city.parquet'
        >>> folder.cleanup()
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, pl.DataFrame] = {}
        self._taken: set[str] = set()

    def put(self, feature: str, values: pl.Series, rows: NDArray[np.integer]) -> str:
        """Write the rows of values, and return the file, as the signature names it.

        Args:
            feature: What the file is named after.
            values: Text or integers, ``[n]``, each once.
            rows: Of the values, ``[n]``.
        """
        table = pl.DataFrame({"value": values.rename("value"), "row": pl.Series(rows, dtype=pl.Int64)})
        for file, other in self._tables.items():
            if other.equals(table) and other.schema == table.schema:
                return file
        file = self._write(feature, ".parquet", table.write_parquet)
        self._tables[file] = table
        return file

    def put_text(self, feature: str, suffix: str, text: str) -> str:
        """Write a file of text, and return it, as the signature names it."""
        return self._write(feature, suffix, lambda path: path.write_text(text, encoding="utf-8"))

    def _write(self, feature: str, suffix: str, write: Callable[[Path], object]) -> str:
        stem = re.sub(r"[^\w-]+", "_", feature, flags=re.ASCII).strip("_")[:80] or "feature"
        number, name = 1, f"{stem}{suffix}"
        while name.lower() in self._taken:  # two names may differ in what no file system tells apart
            number += 1
            name = f"{stem}_{number}{suffix}"
        self._taken.add(name.lower())
        (self._folder / _FOLDER).mkdir(exist_ok=True)
        write(self._folder / _FOLDER / name)
        return f"{_FOLDER}/{name}"
