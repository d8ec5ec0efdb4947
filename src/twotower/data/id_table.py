"""A table with one row per id: the catalogue of items, or the users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.coded_texts import CodedTexts
from twotower.data.id_columns import as_coded_ids, as_ids, require_columns, require_same_id_type
from twotower.errors import DataError

__all__ = ["Catalogue", "IdTable"]

_AT_ONCE = 2**20

_UNKNOWN = np.array([-1], dtype=np.int32)


@final
@dataclass(frozen=True, eq=False)
class IdTable:
    """Features by id, one row per id; build it with `from_table` or `from_ids`.

    Attributes:
        frame: The rows, in the order of the source; the id column is String or Int64.
        id_column: Name of the id column.
        noun: What an id is (``item``, ``user``), for errors.
        dropped: Rows of the source that are not here, by reason.

    Example:
        >>> items = IdTable.from_table(pl.DataFrame({"item": ["b", "a"], "year": [1999, 2001]}), "item")
        >>> items.rows(pl.Series(["a", "z", "b"])).tolist()
        [1, -1, 0]
    """

    frame: pl.DataFrame
    id_column: str
    noun: str = "item"
    dropped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_table(
        cls,
        frame: pl.DataFrame,
        id_column: str,
        *,
        noun: str = "item",
        duplicates: Literal["error", "first", "last"] = "error",
    ) -> IdTable:
        """Check a table and keep one row per id.

        Rows that equal an earlier one in every column are dropped and counted, whatever the rule.

        Args:
            frame: Any columns.
            id_column: Name of the id column: text or integers.
            noun: What an id is, for errors.
            duplicates: The rule for an id whose rows differ: an ``error``, or keep the ``first`` or the ``last`` row.

        Raises:
            DataError: If the id column is missing, of another type, or holds nulls (with row numbers); if there are no rows; or
                if an id occurs twice with different columns and no rule is given.
        """
        table = f"{noun}s table"
        require_columns(frame, {"id": id_column}, noun=table)
        if frame.is_empty():
            raise DataError(f"{table}: 0 rows; it needs at least one")
        frame = frame.with_columns(as_ids(frame[id_column], noun=noun))
        nulls = frame[id_column].is_null().arg_true()
        if len(nulls):
            shown = ", ".join(map(str, nulls.head(5).to_list()))
            raise DataError(
                f"{table}: every row needs an id in {id_column!r}; {len(nulls):,} rows have none (rows {shown}); drop them"
            )
        distinct = frame.unique(maintain_order=True, keep="first")
        dropped = {"equal in every column to an earlier row": frame.height - distinct.height}
        if duplicates == "error":
            _require_distinct(distinct, id_column, table)
            single = distinct
        else:
            single = distinct.unique(subset=id_column, maintain_order=True, keep=duplicates)
            dropped[f"another row of the same id (rule: {duplicates})"] = distinct.height - single.height
        return cls(single, id_column, noun, {reason: rows for reason, rows in dropped.items() if rows})

    @classmethod
    def from_ids(cls, ids: pl.Series | CodedTexts, id_column: str, *, noun: str = "item") -> IdTable:
        """A table of nothing but the distinct ids, sorted.

        Raises:
            DataError: If the ids are of a wrong type, or one is null.
        """
        if isinstance(ids, CodedTexts):
            distinct = ids.occurring().alias(id_column)
            if len(distinct) and not ids.has_nulls:
                return cls(distinct.to_frame(), id_column, noun)
            ids = distinct.extend_constant(None, int(ids.has_nulls))
        coded = as_coded_ids(ids, noun=noun)
        distinct, dtype = coded.unique(), coded.dtype
        if isinstance(dtype, pl.Enum) and _is_all_of(distinct, categories := dtype.categories):
            distinct = categories.cast(pl.String)
        else:
            distinct = as_ids(distinct, noun=noun).sort()
        table = distinct.alias(id_column).to_frame()
        # what is distinct and there needs no more checks, which take seconds for millions of ids
        return (
            cls.from_table(table, id_column, noun=noun)
            if distinct.null_count() or not len(distinct)
            else cls(table, id_column, noun)
        )

    @property
    def ids(self) -> pl.Series:
        """The ids in row order: String or Int64, distinct, no nulls."""
        return self.frame[self.id_column]

    def rows(self, ids: pl.Series) -> NDArray[np.int64]:
        """The row of each id, -1 where it is unknown or null; shape ``[len(ids)]``.

        Raises:
            DataError: If the ids are integers where the table's are text, or the other way round.
        """
        if ids.dtype == pl.Enum:
            return self.rows32(ids).astype(np.int64)
        wanted = as_ids(ids, noun=self.noun)
        if wanted.null_count() < len(wanted):
            require_same_id_type(wanted, self.ids, noun=self.noun, other=f"{self.noun}s table")
        known = pl.DataFrame({"id": self.ids, "row": np.arange(len(self), dtype=np.int64)})
        found = wanted.cast(self.ids.dtype).to_frame("id").join(known, on="id", how="left", maintain_order="left")
        return found["row"].fill_null(-1).to_numpy().copy()

    def rows32(self, ids: pl.Series | CodedTexts) -> NDArray[np.int32]:
        """What `rows` gives, in half of the memory; of an Enum, or of coded texts, each text is looked up once.

        Raises:
            DataError: As `rows`.
        """
        if isinstance(ids, CodedTexts):
            of_name = self._rows_of_names(ids.names)
            rows = np.empty(len(ids.codes), dtype=np.int32)
            for start in range(0, len(rows), _AT_ONCE):  # NumPy makes 8 bytes of each code to look it up
                rows[start : start + _AT_ONCE] = of_name[ids.codes[start : start + _AT_ONCE]]
            return rows
        dtype = ids.dtype  # asked for once: that of millions of categories takes a while to be made
        if not isinstance(dtype, pl.Enum):
            return self.rows(ids).astype(np.int32)
        categories, codes = dtype.categories, ids.to_physical()
        of_name = self._rows_of_names(categories.rename(ids.name))
        rows = np.empty(len(ids), dtype=np.int32)
        for start in range(0, len(ids), _AT_ONCE):
            part = codes.slice(start, _AT_ONCE).cast(pl.UInt32).fill_null(len(categories))
            rows[start : start + _AT_ONCE] = of_name[part.to_numpy()]
        return rows

    def _rows_of_names(self, names: pl.Series) -> NDArray[np.int32]:
        """The row of each of some distinct names, and behind them that of none."""
        if len(names) == len(self) and self.ids.dtype == pl.String and (names == self.ids).all():
            return np.append(np.arange(len(self), dtype=np.int32), _UNKNOWN)
        found = self.rows(names) if len(names) else _UNKNOWN[:0]
        return np.append(found.astype(np.int32), _UNKNOWN)

    def keep(self, mask_or_rows: NDArray[np.bool_] | NDArray[np.int64]) -> IdTable:
        """The rows where a mask is true, or the given rows in the given order.

        Args:
            mask_or_rows: Boolean, shape ``[len(self)]``; or distinct row numbers.

        Raises:
            ValueError: If the mask has another length, or a row is out of range or given twice.
        """
        chosen = np.asarray(mask_or_rows)
        if chosen.dtype == np.bool_:
            if chosen.shape != (len(self),):
                raise ValueError(f"a mask needs shape ({len(self)},); came {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise ValueError(f"rows must be in [0, {len(self)}); came {chosen.min()} to {chosen.max()}")
        if np.unique(chosen).size != chosen.size:
            raise ValueError("rows must be distinct, for an id has one row")
        return IdTable(self.frame[chosen], self.id_column, self.noun, self.dropped)

    def __len__(self) -> int:
        return self.frame.height


Catalogue: TypeAlias = IdTable
"""The table of the items that can be recommended."""


def _is_all_of(distinct: pl.Series, categories: pl.Series) -> bool:
    """Whether each of some sorted categories occurs, and no null: so it is in converted tables, and nothing is sorted again."""
    return len(distinct) == len(categories) and not distinct.null_count() and categories.is_sorted()


def _require_distinct(frame: pl.DataFrame, id_column: str, table: str) -> None:
    repeated = frame[id_column].is_duplicated()
    if not repeated.any():
        return
    count = frame[id_column].filter(repeated).n_unique()
    value = frame[id_column].filter(repeated)[0]
    rows = frame.filter(pl.col(id_column) == value)
    differing = [name for name in rows.columns if rows[name].n_unique() > 1]
    shown = "; ".join(f"{name}: {' and '.join(repr(v) for v in rows[name].to_list()[:2])}" for name in differing[:3])
    raise DataError(
        f"{table}: an id must have one row; {value!r} has {rows.height} that differ in {', '.join(differing)} ({shown}); "
        f"{count:,} such ids; correct the table, or declare duplicates = 'first' or 'last' "
        f"(in a recipe: data.duplicate_{table.split()[0]})"
    )
