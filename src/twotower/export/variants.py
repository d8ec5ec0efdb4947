"""Rows that an export is tried with: real ones, and what may come to a server besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from twotower.export.signature import Input, NumberInput, RowInput, TowerSignature, VectorInput
from twotower.types import Id

__all__ = ["Variant", "never_seen", "variants"]

_FAR = 1_000_003
"""Added to numbers and integers to be beyond what train has shown."""


@dataclass(frozen=True)
class Variant:
    """Rows changed in one way.

    Attributes:
        about: In which.
        frame: The rows, of the same columns.
    """

    about: str
    frame: pl.DataFrame


def variants(tower: TowerSignature, frame: pl.DataFrame) -> list[Variant]:
    """Rows with missing, unknown and far values, as the signature says that they may come.

    Args:
        tower: What a tower's signature says.
        frame: Real rows, all the tower's columns.
    """
    found, emptied, changed = [], frame, frame
    for column in dict.fromkeys(entry.column for entry in tower.inputs if entry.column is not None):
        readers = [entry for entry in tower.inputs if entry.column == column]
        if all(_may_be_missing(entry) for entry in readers):
            empty = pl.Series(column, [None] * frame.height, dtype=frame[column].dtype)
            found.append(Variant(f"without {column}", frame.with_columns(empty)))
            emptied = emptied.with_columns(empty)
        strange = _strange(frame[column], readers)
        if strange is not None:
            found.append(Variant(f"with {column} never seen", frame.with_columns(strange)))
            changed = changed.with_columns(strange)
    return [*found, Variant("without whatever may be missing", emptied), Variant("with nothing ever seen", changed)]


def never_seen(ids: pl.Series) -> Id:
    """An id that is not among these."""
    if ids.dtype == pl.String:
        longest = ids.str.len_chars().max()
        return "never seen " + "x" * (longest if isinstance(longest, int) else 0)
    most = ids.max()
    return _FAR + most if isinstance(most, int) and most < 2**62 else -_FAR


def _may_be_missing(entry: Input) -> bool:
    if isinstance(entry, NumberInput | VectorInput):
        return not entry.required
    return entry.missing_row is not None if isinstance(entry, RowInput) else True


def _strange(values: pl.Series, readers: Sequence[Input]) -> pl.Series | None:
    """Values that train did not have; None where there are none that a tower takes."""
    dtype = values.dtype
    if any(isinstance(entry, VectorInput) or (isinstance(entry, NumberInput) and entry.range) for entry in readers):
        return None
    if dtype.is_integer():
        return (values.cast(pl.Int64) + _FAR).alias(values.name)
    if dtype.is_float():
        return values * -0.5 - _FAR
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return (values.cast(pl.String) + " Never, SEEN").alias(values.name)
    return None
