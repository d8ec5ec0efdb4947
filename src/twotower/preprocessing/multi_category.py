"""Several categories per row: genres, tags, ingredients."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from twotower.config import Config
from twotower.errors import DataError, type_name
from twotower.preprocessing.categories import encode_by_category, fit_by_category
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.lists import flatten, to_ragged
from twotower.preprocessing.lookup import Lookup
from twotower.spec import RowsColumn
from twotower.types import Ragged

__all__ = ["FittedMultiCategory", "MultiCategoryFeature"]


class MultiCategoryFeature(ColumnFeature):
    """Any number of values per row (text or integers), each looked up, to be pooled by the tower.

    Attributes:
        separator: For a column of text such as ``"Action|Drama"``: what stands between the values. Blanks around a value are
            cut off, and empty values left out. None: the column holds lists.
        min_count: Values of fewer occurrences share row 0 with the unknown ones.
        max_values: Only the first so many values of a row are read.
    """

    kind: Literal["multi_category"] = "multi_category"
    separator: str | None = Field(default=None, min_length=1)
    min_count: int = Field(default=1, ge=1)
    max_values: int | None = Field(default=None, ge=1)

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedMultiCategory:
        """Collect the values of the train rows.

        Args:
            column: Lists, or text with a separator, ``[n]``.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If the column holds anything else, or no value is left.
        """
        if isinstance(column.dtype, pl.Enum):
            return fit_by_category(self.fit, column, counts)
        values, lengths = _values(self, column)
        repeated = np.repeat(row_counts(counts, len(column)), lengths)
        lookup = Lookup.fit(values, repeated, min_count=self.min_count, column=self.column)
        return FittedMultiCategory(config=self, lookup=lookup)


class FittedMultiCategory(Config):
    """A feature of several categories per row, and the values that it found.

    Example:
        >>> fitted = MultiCategoryFeature(column="genres", separator="|").fit(pl.Series(["Drama|Action", "Drama"]))
        >>> fitted.encode(pl.Series(["Action|Western", ""]))["genres"]
        Ragged(values=tensor([1, 0], dtype=torch.int32), offsets=tensor([0, 2, 2]))
    """

    kind: Literal["multi_category"] = "multi_category"
    config: MultiCategoryFeature
    lookup: Lookup

    @property
    def columns(self) -> tuple[RowsColumn, ...]:
        """One ragged column of rows."""
        return (RowsColumn(name=self.config.output_name, vocabulary_size=self.lookup.size, ragged=True),)

    def encode(self, column: pl.Series) -> dict[str, Ragged]:
        """Rows, ragged; an unknown value has row 0, and null is an empty row, as is an empty list.

        Raises:
            DataError: If the column holds anything but what it was fitted on.
        """
        if isinstance(column.dtype, pl.Enum):
            return encode_by_category(self.encode, column)
        values, lengths = _values(self.config, column)
        return {self.config.output_name: to_ragged(self.lookup.rows(values, column=self.config.column), lengths)}


def _values(config: MultiCategoryFeature, column: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """The values end to end, and how many each row has."""
    dtype = column.dtype
    if dtype == pl.Null:
        return pl.Series([], dtype=pl.String), np.zeros(len(column), dtype=np.int64)
    if config.separator is None:
        if not isinstance(dtype, pl.List | pl.Array):
            raise DataError(
                f"column {config.column!r} must hold lists, or declare the separator of its text; it holds {type_name(dtype)}"
            )
        lists = column.arr.to_list() if isinstance(dtype, pl.Array) else column
        lists = lists.list.drop_nulls()
    else:
        if not isinstance(dtype, pl.String | pl.Categorical):
            raise DataError(
                f"column {config.column!r} must hold text with the separator {config.separator!r}; it holds {dtype}; "
                "declare no separator for lists"
            )
        pieces = column.cast(pl.String).str.split(config.separator).list.eval(pl.element().str.strip_chars())
        lists = pieces.list.eval(pl.element().filter(pl.element() != ""))
    return flatten(lists if config.max_values is None else lists.list.head(config.max_values))
