"""What rank 0 found out once, told to the others."""

from __future__ import annotations

import io
from typing import Any

import polars as pl

from twotower.distributed import Ranks
from twotower.preprocessing import Preprocessor

__all__ = ["told_preprocessor"]


def told_preprocessor(fitted: Preprocessor | None, ranks: Ranks) -> Preprocessor:
    """What rank 0 fitted, on all ranks; large vocabularies go as tables.

    Args:
        fitted: Of rank 0; what others give is passed over.
        ranks: All of them.
    """
    if ranks.size == 1:
        assert fitted is not None
        return fitted
    values, tables = ranks.tell(None if fitted is None else _written(fitted))
    if fitted is not None:
        return fitted
    return Preprocessor.from_parts(values, lambda name: pl.read_ipc(io.BytesIO(tables[name])))


def _written(fitted: Preprocessor) -> tuple[dict[str, Any], dict[str, bytes]]:
    values, tables = fitted.to_parts()
    return values, {name: frame.write_ipc(None).getvalue() for name, frame in tables.items()}
