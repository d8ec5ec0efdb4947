"""From the values of a column to rows of a vocabulary, column-wise: no loop over the rows in Python."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.vocabulary_field import VocabularyIds
from twotower.vocabulary import OUT_OF_VOCABULARY

__all__ = ["Lookup", "distinct", "id_values", "value_totals"]


class Lookup(Config):
    """The known values of a column in the order of their rows: the first has row 1, and row 0 is everything else.

    Attributes:
        ids: Distinct values, all text (String) or all integers (Int64), at least one. A series, since there may be millions.

    Example:
        >>> lookup = Lookup.fit(pl.Series(["bob", "ann", "bob", None]), None, min_count=1, column="user")
        >>> lookup.ids.to_list(), lookup.size
        (['ann', 'bob'], 3)
        >>> lookup.rows(pl.Series(["bob", "eve", None]), column="user").tolist()
        [2, 0, 0]
    """

    ids: VocabularyIds

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
        return cls.of_totals(value_totals(values, counts, column), min_count=min_count, column=column)

    @classmethod
    def of_totals(cls, totals: pl.DataFrame, *, min_count: int, column: str) -> Lookup:
        """As `fit`, from what `value_totals` found."""
        kept = totals.filter(pl.col("count") >= max(min_count, 1))
        if kept.is_empty():
            most = totals["count"].max() if totals.height else None
            found = f"the most frequent of {totals.height:,} values occurs {most!r} times" if most else "no row has a value"
            raise DataError(f"column {column!r} must have a value that occurs at least {max(min_count, 1)} times; {found}")
        return cls(ids=kept["value"])

    def __eq__(self, other: object) -> bool:
        """By the values alone: what was looked up so far, and cached for it, says nothing."""
        return isinstance(other, Lookup) and (self.ids is other.ids or self.ids.equals(other.ids, check_dtypes=True))

    def __hash__(self) -> int:
        return hash((len(self.ids), self.ids[0], self.ids[-1]))

    @property
    def size(self) -> int:
        """Number of rows, the out-of-vocabulary row included."""
        return len(self.ids) + 1

    @cached_property
    def _sorted(self) -> bool:
        return self.ids.is_sorted()

    def rows(self, values: pl.Series, *, column: str) -> NDArray[np.int32]:
        """Rows of the values, ``[n]``; an unknown value, and null, has row 0.

        Raises:
            DataError: If the column holds integers and was fitted on text, or the other way round.
        """
        came = id_values(values, column)
        if came.null_count() == len(came):
            return np.full(len(came), OUT_OF_VOCABULARY, dtype=np.int32)
        if came.dtype != self.ids.dtype:
            kind = "text" if self.ids.dtype == pl.String else "integers"
            raise DataError(
                f"column {column!r} must hold what it was fitted on, {kind} such as {self.ids[0]!r}; "
                f"it holds {values.dtype} such as {came.drop_nulls()[0]!r}; cast the column"
            )
        # a hash table of all known values would be built for a request; and walking beside them is quicker than one
        if self._sorted and (len(came) <= _FEW or came.is_sorted(nulls_last=True)):
            places = self.ids.search_sorted(came).clip(upper_bound=len(self.ids) - 1)
            known = (self.ids.gather(places) == came).fill_null(False)
            return np.where(known.to_numpy(), places.to_numpy() + 1, OUT_OF_VOCABULARY).astype(np.int32)
        table = pl.DataFrame({"value": self.ids, "row": np.arange(1, self.size, dtype=np.int32)})
        found = came.to_frame("value").join(table, on="value", how="left", maintain_order="left")["row"]
        return found.fill_null(OUT_OF_VOCABULARY).to_numpy(writable=True)


_FEW = 1_000


def value_totals(values: pl.Series, counts: NDArray[np.int64] | None, column: str) -> pl.DataFrame:
    """How many interactions each value of a column has: ``value`` (sorted; null left out) and ``count``.

    Raises:
        DataError: If the dtype is neither text nor integers.

    Example:
        >>> value_totals(pl.Series(["b", "a", None, "b"]), None, "user").rows()
        [('a', 1), ('b', 2)]
    """
    table = pl.DataFrame({"value": id_values(values, column), "count": row_counts(counts, len(values))}).drop_nulls("value")
    if rising(table["value"]):
        return table  # the categories of a column, or the ids of a catalogue: millions need not be sorted again
    return table.group_by("value").agg(pl.col("count").sum()).sort("value")


def rising(values: pl.Series) -> bool:
    """Whether values without nulls are sorted and distinct, which neighbours tell without a hash table of millions."""
    return values.is_sorted() and not (values.slice(1) == values.head(max(len(values) - 1, 0))).any()


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
    if not values.null_count() and rising(values):
        return values, np.arange(1, len(values) + 1, dtype=np.int64)
    different = values.drop_nulls().unique(maintain_order=True)
    positions = pl.Series(np.arange(1, len(different) + 1, dtype=np.int64))
    found = values.replace_strict(different, positions, default=0, return_dtype=pl.Int64)
    return different, found.fill_null(0).to_numpy(writable=True)
