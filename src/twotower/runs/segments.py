"""Segments of queries: the values of a column, or of several together, of the users or of the interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data import Examples
from twotower.errors import ConfigError, nearest
from twotower.runs.phase import user_frame
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables

__all__ = ["Segments", "default_segments", "read_segments", "require_segments"]

_MOST_MARKED = 2**24
"""Combinations up to which marking is quicker than sorting, and takes little memory."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segment of every interaction.

    Attributes:
        columns: Whose values, together, make a segment.
        codes: int32 ``[n]``, in [0, count); -1 where one of the columns has no value.
        count: Distinct segments.
        user_rows: int32 ``[n]``, the user of every interaction.
        of_users: int32 ``[U]``, the segment of each user, where all of the columns are the users'; else None.
    """

    columns: tuple[str, ...]
    codes: NDArray[np.int32]
    count: int
    user_rows: NDArray[np.int32]
    of_users: NDArray[np.int32] | None

    def of(self, examples: Examples, parts: Sequence[NDArray[np.int64]], item_rows: NDArray[np.int32]) -> Tensor:
        """The segments of examples, int64 ``[len(examples)]``.

        Examples tell users and items, not the rows of the table that they come from. Columns of the interactions are therefore
        read for the examples of a known set of rows only.

        Args:
            examples: Of any rows where the columns are the users', else of one of ``parts``, in its order.
            parts: Row numbers of the interactions.
            item_rows: int32 ``[n]``, the catalogue row of every interaction.

        Raises:
            ValueError: If the examples are of none of the parts.
        """
        if self.of_users is not None:
            return torch.from_numpy(self.of_users)[examples.user_rows].long()
        users, items = examples.user_rows.numpy(), examples.item_rows.numpy()
        for rows in parts:
            if np.array_equal(item_rows[rows], items) and np.array_equal(self.user_rows[rows], users):
                return torch.from_numpy(self.codes[rows].astype(np.int64))
        raise ValueError(
            f"segments of {', '.join(self.columns)} are known for the rows of a whole part; came {len(users)} others"
        )


def default_segments(recipe: Recipe, tables: Tables) -> tuple[tuple[str, ...], ...]:
    """Each category feature of the query tower; where there is none, each text column of the users table, if any."""
    features = [entry.feature for entry in recipe.query.features]
    categories = dict.fromkeys(feature.column for feature in features if feature.kind == "category" and feature.part is None)
    if categories:
        return tuple((column,) for column in categories)
    if tables.users is None:
        return ()
    frame = tables.users.frame
    textual = (pl.String, pl.Categorical, pl.Enum)
    return tuple((name,) for name in frame.columns if name != tables.users.id_column and frame.schema[name] in textual)


def require_segments(recipe: Recipe, tables: Tables, segments: Sequence[tuple[str, ...]]) -> None:
    """Check that columns can tell queries apart.

    Raises:
        ConfigError: If a column does not exist, is the item or belongs to it, is an outcome of the row, is in both tables, or
            holds lists; all faults at once.
    """
    schema = tables.interactions.schema
    people, context = user_frame(tables), tables.interactions.frame
    outcomes = recipe.outcome_columns()
    owned = () if recipe.data.catalogue is None else recipe.data.catalogue.columns
    faults = []
    for column in dict.fromkeys(column for columns in segments for column in columns):
        start = f"segment column {column!r}"
        in_users, in_context = column in people.columns, column in context.columns
        if column == schema.item:
            faults.append(f"{start} is the item to be found, which is not known when items are to be recommended")
        elif column in outcomes:
            faults.append(
                f"{start} is an outcome of its own row ({outcomes[column]}), not known when items are to be recommended"
            )
        elif column in owned:
            faults.append(
                f"{start} belongs to the item (data.catalogue.columns), which is not known when items are to be recommended"
            )
        elif not in_users and not in_context:
            known = (set(people.columns) | set(context.columns)) - {schema.item, *owned} - outcomes.keys()
            faults.append(f"{start}: no such column among the users or in the interactions{nearest(column, known)}")
        elif in_users and in_context and column != schema.user:
            faults.append(f"{start} is ambiguous: it is among the users and in the interactions; rename one of them")
        elif (dtype := (people if in_users else context).schema[column]).is_nested():
            faults.append(f"{start} must have one value a row; came {dtype}")
    if faults:
        raise ConfigError(faults)


def read_segments(tables: Tables, columns: tuple[str, ...]) -> Segments:
    """Tell the segments of all interactions apart.

    Args:
        tables: What was read.
        columns: Checked by `require_segments`.
    """
    people, context = user_frame(tables), tables.interactions.frame
    if all(name in people.columns for name in columns):
        of_users, count = _combined([_codes(people[name]) for name in columns])
        return Segments(columns, of_users[tables.user_rows], count, tables.user_rows, of_users)
    parts = []
    for name in columns:
        codes, below = _codes(people[name] if name in people.columns else context[name])
        parts.append((codes[tables.user_rows] if name in people.columns else codes, below))
    codes, count = _combined(parts)
    return Segments(columns, codes, count, tables.user_rows, None)


def _combined(codes: Sequence[tuple[NDArray[np.int32], int]]) -> tuple[NDArray[np.int32], int]:
    """One number for each combination that occurs, -1 where a part of it is missing; and how many there are."""
    combined = np.full(len(codes[0][0]), -1, dtype=np.int32)
    present = np.ones(len(combined), dtype=np.bool_)
    for part, _ in codes:
        present &= part >= 0
    numbers, size = np.zeros(int(present.sum()), dtype=np.int64), 1
    for part, count in codes:
        numbers = numbers * count + part[present]
        size *= count
        if size > _MOST_MARKED:  # numbered again, so that one more part has room in 63 bits
            distinct, numbers = np.unique(numbers, return_inverse=True)
            size = len(distinct)
    occurs = np.zeros(size, dtype=np.bool_)  # those that occur are marked, and nothing is sorted
    occurs[numbers] = True
    combined[present] = (np.cumsum(occurs, dtype=np.int32) - 1)[numbers]
    return combined, int(occurs.sum())


def _codes(column: pl.Series) -> tuple[NDArray[np.int32], int]:
    """A number for each distinct value, -1 for a missing one; and a bound that all numbers lie below."""
    dtype = column.dtype
    if isinstance(dtype, pl.Enum):
        return column.to_physical().cast(pl.Int32).fill_null(-1).to_numpy(), len(dtype.categories)
    if dtype.is_float():
        column = column.fill_nan(None)
    values = column.unique().drop_nulls()
    known = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int32)})
    found = column.to_frame("value").join(known, on="value", how="left", maintain_order="left")
    return found["code"].fill_null(-1).to_numpy(), len(values)
