"""What every feature that reads a column has in common: the column, and the name of what comes out."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from twotower.config import Config

__all__ = ["ColumnFeature"]


class ColumnFeature(Config):
    """The choices that every feature on a column shares; abstract, the features add theirs.

    Attributes:
        column: Column of the table that the feature reads.
        name: Name of the feature; None: the name of the column. Needed when a column is used twice in one tower.
    """

    column: str = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)

    @property
    def output_name(self) -> str:
        """Name of the encoded column, or what the names of the encoded columns start with."""
        return self.name if self.name is not None else self.column

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Columns of the table that the feature reads."""
        return (self.column,)

    def source(self, frame: pl.DataFrame) -> pl.Series:
        """What ``fit`` and ``encode`` take, read from a table that has the columns."""
        return frame[self.column]
