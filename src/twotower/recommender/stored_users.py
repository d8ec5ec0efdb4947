"""The users that a bundle knows: their features, the last context they were seen in, what they did and did not like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import torch
from torch import Tensor

from twotower.data import Histories, IdTable
from twotower.recommender.id_lookup import IdLookup
from twotower.types import Id, Ragged, gather_slices

__all__ = ["StoredUsers"]


@dataclass(frozen=True, eq=False)
class StoredUsers:
    """A bundle's users; a `twotower.types.HistoryStore`.

    Attributes:
        table: Raw columns that features of the query read, one row per user.
        item_histories: Catalogue rows of each row of ``table``, positives only.
        disliked: Catalogue rows of the user's interactions that are no positives (``rating >= 4`` was asked for, and it was
            less), for each row of ``table``; they are no history and are not recommended. None: there are none.
    """

    table: IdTable
    item_histories: Histories
    disliked: Ragged | None = None

    @cached_property
    def lookup(self) -> IdLookup:
        """From ids to rows of ``table``."""
        return IdLookup(self.table)

    def __contains__(self, user: object) -> bool:
        return isinstance(user, str | int) and int(self.rows([user])[0]) >= 0

    def rows(self, users: Sequence[Id | None]) -> Tensor:
        """Row of each user in the table, int64 ``[n]``; -1 for None, for unknown ones and for ids of another type."""
        return self.lookup.rows(users)

    def histories(self, users: Sequence[Id | None]) -> Ragged:
        """See `twotower.types.HistoryStore`; None has no history."""
        return _taken(self.item_histories.item_rows, self.item_histories.offsets, self.rows(users))

    def disliked_by(self, users: Sequence[Id | None]) -> Ragged:
        """What each user did not like, catalogue rows; nothing for None and for unknown users."""
        if self.disliked is None:
            return Ragged(torch.zeros(0, dtype=torch.int32), torch.zeros(len(users) + 1, dtype=torch.int64))
        return _taken(self.disliked.values, self.disliked.offsets, self.rows(users))

    def frame_of(self, users: Sequence[Id | None]) -> pl.DataFrame:
        """Raw columns of each user, nulls for unknown ones; the id column is as asked for, null for ids of another type."""
        rows = pl.Series(self.rows(users).numpy())
        found = self.table.frame.select(pl.all().gather(rows.set(rows < 0, None)))
        return found.with_columns(_typed(users, self.table.ids.dtype).alias(self.table.id_column))


def _taken(values: Tensor, offsets: Tensor, rows: Tensor) -> Ragged:
    """The given rows of a ragged column, none for -1."""
    known = rows.clamp(min=0)
    starts = offsets[known]
    return gather_slices(values, starts, torch.where(rows >= 0, offsets[known + 1] - starts, 0))


def _typed(users: Sequence[Id | None], dtype: pl.DataType) -> pl.Series:
    try:
        return pl.Series(list(users), dtype=dtype, strict=True)
    except (TypeError, pl.exceptions.PolarsError):  # ids of the other type among them: unknown, so null
        kind = str if dtype == pl.String else int
        return pl.Series([user if isinstance(user, kind) else None for user in users], dtype=dtype)
