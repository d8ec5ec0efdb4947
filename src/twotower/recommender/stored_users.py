"""The users that a bundle knows: their features, the last context they were seen in, and what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from twotower.data import Histories, IdTable
from twotower.types import Id, Ragged, gather_slices

__all__ = ["StoredUsers"]


@dataclass(frozen=True)
class StoredUsers:
    """A bundle's users; a `twotower.types.HistoryStore`.

    Attributes:
        table: Raw columns that features of the query read, one row per user.
        item_histories: Catalogue rows of each row of ``table``.
    """

    table: IdTable
    item_histories: Histories

    def __contains__(self, user: object) -> bool:
        return isinstance(user, str | int) and bool((self.rows([user]) >= 0).all())

    def rows(self, users: Sequence[Id | None]) -> Tensor:
        """Row of each user in the table, int64 ``[n]``; -1 for unknown ones and for ids of another type."""
        kind = str if self.table.ids.dtype == pl.String else int
        known = [user if isinstance(user, kind) and not isinstance(user, bool) else None for user in users]
        ids = pl.Series(known, dtype=self.table.ids.dtype)
        found = torch.from_numpy(self.table.rows(ids).copy())
        return torch.where(torch.tensor([user is None for user in known], dtype=torch.bool), -1, found)

    def histories(self, users: Sequence[Id | None]) -> Ragged:
        """See `twotower.types.HistoryStore`."""
        rows = self.rows(users)
        known = rows.clamp(min=0)
        offsets = self.item_histories.offsets
        starts = offsets[known]
        lengths = torch.where(rows >= 0, offsets[known + 1] - starts, 0)
        return gather_slices(self.item_histories.item_rows, starts, lengths)

    def frame_of(self, users: Sequence[Id | None]) -> pl.DataFrame:
        """Raw columns of each user, nulls for unknown ones; the id column is as asked for."""
        rows = self.rows(users)
        index = pl.Series([row if row >= 0 else None for row in rows.tolist()], dtype=pl.Int64)
        found = self.table.frame.select(pl.all().gather(index))
        ids = pl.Series(
            self.table.id_column,
            [user if row >= 0 else None for user, row in zip(users, rows.tolist(), strict=True)],
            dtype=self.table.ids.dtype,
        )
        return found.with_columns(ids)
