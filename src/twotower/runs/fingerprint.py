"""What tables and their split are known by again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl

from twotower.data import IdTable, Split
from twotower.data.consecutive import as_slice

__all__ = ["fingerprint"]

_AT_ONCE = 2**20


def fingerprint(interactions: pl.DataFrame, items: IdTable | None, users: IdTable | None, parts: Split) -> str:
    """Hash all that was read, and which rows train, validate and test.

    Text that is coded is hashed as its codes and its categories, so that millions of rows take no strings.
    """
    digest = hashlib.sha256()
    for table in (interactions, None if items is None else items.frame, None if users is None else users.frame):
        if table is None:
            continue
        schema = table.schema
        if any(dtype == pl.Enum for dtype in schema.values()):
            digest.update(str({name: "Enum" if dtype == pl.Enum else dtype for name, dtype in schema.items()}).encode())
            for column in table.iter_columns():
                _add(digest, column)
        else:
            digest.update(str(schema).encode())
            digest.update(table.hash_rows(seed=0).to_numpy().tobytes())
    for rows in (parts.train, parts.validation, parts.test):
        found = as_slice(rows)
        digest.update(rows.tobytes() if found is None or len(rows) < _AT_ONCE else str(found).encode())
    return digest.hexdigest()


def _add(digest: Any, column: pl.Series) -> None:
    dtype = column.dtype
    if isinstance(dtype, pl.Enum):
        digest.update(dtype.categories.hash(seed=0).to_numpy().tobytes())
        column = column.to_physical()
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        digest.update(column.hash(seed=0).to_numpy().tobytes())
        return
    for start in range(0, len(column), _AT_ONCE):
        part = column.slice(start, _AT_ONCE)
        digest.update(np.packbits(part.is_null().to_numpy()).tobytes())
        filled = part.fill_null(False) if part.dtype == pl.Boolean else part.fill_null(strategy="zero")
        digest.update(filled.to_numpy().tobytes())
