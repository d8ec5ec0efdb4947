"""From the values of a column to rows of a vocabulary, column-wise: no loop over the rows in Python."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, StrictInt, StrictStr, field_validator

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.counts import row_counts
from twotower.vocabulary import OUT_OF_VOCABULARY, Vocabulary

__all__ = ["Lookup", "distinct", "id_values"]


class Lookup(Config):
    """The known values of a column in the order of their rows: the first has row 1, and row 0 is everything else.

    Attributes:
        ids: Distinct values, all text or all integers.

    Example:
        >>> lookup = Lookup.fit(pl.Series(["bob", "ann", "bob", None]), None, min_count=1, column="user")
        >>> lookup.ids, lookup.size
        (('ann', 'bob'), 3)
        >>> lookup.rows(pl.Series(["bob", "eve", None]), column="user").tolist()
        [2, 0, 0]
    """

    ids: tuple[StrictStr, ...] | tuple[StrictInt, ...] = Field(min_length=1)

    @field_validator("ids")
    @classmethod
    def _distinct(cls, ids: tuple[str, ...] | tuple[int, ...]) -> tuple[str, ...] | tuple[int, ...]:
        if len(set(ids)) != len(ids):
            raise ValueError("every value must be there once")
        return ids

    @classmethod
    def fit(cls, values: pl.Series, counts: NDArray[np.int64] | None, *, min_count: int, column: str) -> Lookup:
        """Keep the values that occur at least ``min_count`` times, sorted, so that rows don't depend on the order of the table.

        Args:
            values: Text or integers (see `id_values`); nulls are left out.
            counts: How many interactions each row stands for, ``[n]``; None: one each.
            min_count: At least this many, and at least one.
            column: Name for messages.

        Raises:
            DataError: If the dtype is neither text nor integers, or no value is left.
        """
        table = pl.DataFrame({"value": id_values(values, column), "count": row_counts(counts, len(values))})
        totals = table.drop_nulls("value").group_by("value").agg(pl.col("count").sum())
        kept = totals.filter(pl.col("count") >= max(min_count, 1)).sort("value")
        if kept.is_empty():
            most = totals["count"].max() if totals.height else None
            found = f"the most frequent of {totals.height:,} values occurs {most!r} times" if most else "no row has a value"
            raise DataError(f"column {column!r} must have a value that occurs at least {max(min_count, 1)} times; {found}")
        return cls(ids=tuple(kept["value"].to_list()))

    def __eq__(self, other: object) -> bool:
        """By the values alone: what was looked up so far, and cached for it, says nothing."""
        return isinstance(other, Lookup) and self.ids == other.ids

    def __hash__(self) -> int:
        return hash(self.ids)

    @property
    def size(self) -> int:
        """Number of rows, the out-of-vocabulary row included."""
        return len(self.ids) + 1

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The same as a vocabulary, for looking up single ids both ways."""
        return Vocabulary(self.ids)

    @cached_property
    def _known(self) -> pl.Series:
        return pl.Series(self.ids, dtype=pl.String if isinstance(self.ids[0], str) else pl.Int64)

    def rows(self, values: pl.Series, *, column: str) -> NDArray[np.int32]:
        """Rows of the values, ``[n]``; an unknown value, and null, has row 0.

        Raises:
            DataError: If the column holds integers and was fitted on text, or the other way round.
        """
        came = id_values(values, column)
        if came.null_count() == len(came):
            return np.full(len(came), OUT_OF_VOCABULARY, dtype=np.int32)
        if came.dtype != self._known.dtype:
            raise DataError(
                f"column {column!r} must hold what it was fitted on, {_KIND[type(self.ids[0])]} such as {self.ids[0]!r}; "
                f"it holds {values.dtype} such as {came.drop_nulls()[0]!r}; cast the column"
            )
        if len(came) <= _FEW:  # a request: the map of a join over all known values would be built for it
            return self.vocabulary.rows(came.to_list())
        rows = np.arange(1, self.size, dtype=np.int32)
        found = came.replace_strict(self._known, pl.Series(rows), default=OUT_OF_VOCABULARY, return_dtype=pl.Int32)
        return found.fill_null(OUT_OF_VOCABULARY).to_numpy(writable=True)


_KIND = {str: "text", int: "integers"}
_FEW = 1_000


def id_values(values: pl.Series, column: str) -> pl.Series:
    """A column as String or Int64: categories and booleans become text, integers of every width become Int64.

    Raises:
        DataError: If it holds anything else, or an integer that has no room in 64 bits.
    """
    dtype = values.dtype
    if dtype == pl.String or dtype == pl.Int64:
        return values
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Boolean | pl.Null):
        return values.cast(pl.String)
    if dtype.is_integer():
        try:
            return values.cast(pl.Int64)
        except pl.exceptions.InvalidOperationError:
            raise DataError(
                f"column {column!r} must hold integers of at most 64 bits with sign; the largest is {values.max()!r}"
            ) from None
    shown = ", ".join(repr(value) for value in values.drop_nulls().head(3))
    raise DataError(
        f"column {column!r} must hold text or integers; it holds {dtype} ({shown}); cast it, or declare another kind"
    )


def distinct(values: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """The distinct values, nulls left out, and for each row its position among them plus 1 (0 for null).

    Example:
        >>> values, positions = distinct(pl.Series(["b", None, "a", "b"]))
        >>> values.to_list(), positions.tolist()
        (['b', 'a'], [1, 0, 2, 1])
    """
    different = values.drop_nulls().unique(maintain_order=True)
    positions = pl.Series(np.arange(1, len(different) + 1, dtype=np.int64))
    found = values.replace_strict(different, positions, default=0, return_dtype=pl.Int64)
    return different, found.fill_null(0).to_numpy(writable=True)
