"""The users that a bundle knows: their features, the last context they were seen in, what they did and did not like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import torch
from torch import Tensor

from twotower.data import Histories, IdTable
from twotower.recommender.column_values import fits
from twotower.recommender.id_lookup import IdLookup
from twotower.types import Events, Id, Ragged, gather_slices

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

    @cached_property
    def are_in_order(self) -> bool:
        """Whether every history is in the order of its times; not where that of the rows of a table was another one.

        True where no times are stored.
        """
        times, offsets = self.item_histories.times, self.item_histories.offsets
        if times is None:
            return True
        falls = times[1:] < times[:-1]
        ends = offsets[1:-1]
        falls[ends[(ends > 0) & (ends < len(times))] - 1] = False  # from one user to the next
        return not bool(falls.any())

    def __contains__(self, user: object) -> bool:
        return isinstance(user, str | int) and int(self.rows([user])[0]) >= 0

    def rows(self, users: Sequence[Id | None]) -> Tensor:
        """Row of each user in the table, int64 ``[n]``; -1 for None, for unknown ones and for ids of another type."""
        return self.lookup.rows(users)

    def histories(self, users: Sequence[Id | None]) -> Ragged:
        """See `twotower.types.HistoryStore`; None has no history."""
        return self.histories_at(self.rows(users))

    def histories_at(self, rows: Tensor) -> Ragged:
        """The histories of rows of the table (int64 ``[n]``); -1 has none."""
        return _taken(self.item_histories.item_rows, self.item_histories.offsets, rows)

    def events_at(self, rows: Tensor, *, times: bool, columns: Sequence[str]) -> Events:
        """The histories of rows of the table (int64 ``[n]``) with what is stored of each event; -1 has none.

        Args:
            rows: Of the table.
            times: Whether the times are wanted; they are stored then.
            columns: Which of the encoded columns.
        """
        known, histories = rows.clamp(min=0), self.item_histories
        starts = histories.offsets[known]
        lengths = torch.where(rows >= 0, histories.offsets[known + 1] - starts, 0)
        return Events(
            gather_slices(histories.item_rows, starts, lengths),
            gather_slices(histories.times, starts, lengths).values if times and histories.times is not None else None,
            None,
            {name: gather_slices(histories.columns[name], starts, lengths).values for name in columns},
        )

    def last_times(self, users: Sequence[Id]) -> list[float | None]:
        """When each user's stored history ends, Unix seconds; None for an unknown user, an empty one, or one without times."""
        times, offsets = self.item_histories.times, self.item_histories.offsets
        rows = self.rows(users)
        known = rows.clamp(min=0)
        if times is None or not len(times):
            return [None] * len(users)
        ends = times[(offsets[known + 1] - 1).clamp(min=0)].tolist()
        there = ((rows >= 0) & (offsets[known + 1] > offsets[known])).tolist()
        return [float(end) if found else None for end, found in zip(ends, there, strict=True)]

    def disliked_at(self, rows: Tensor) -> Ragged:
        """What users did not like, catalogue rows, by row of the table; nothing for -1."""
        if self.disliked is None:
            return Ragged(torch.zeros(0, dtype=torch.int32), torch.zeros(len(rows) + 1, dtype=torch.int64))
        return _taken(self.disliked.values, self.disliked.offsets, rows)

    def frame_of(self, users: Sequence[Id | None]) -> pl.DataFrame:
        """Raw columns of each user, nulls for unknown ones; the id column is as asked for, null for ids of another type."""
        return self.frame_at(self.rows(users), self.table.frame.columns, users)

    def frame_at(self, rows: Tensor, columns: Sequence[str], users: Sequence[Id | None] | None = None) -> pl.DataFrame:
        """Raw columns of users.

        Args:
            rows: Of the table, int64 ``[n]``; -1 for nobody, who has nulls.
            columns: Names of columns of the table.
            users: Ids as asked for, which the id column then holds, null for None and for ids of another type; None: it holds
                those of the table.
        """
        places = pl.Series(rows.numpy())
        found = self.table.frame.select(pl.col(columns).gather(places.set(places < 0, None)))
        if users is None or self.table.id_column not in columns:
            return found
        return found.with_columns(_typed(users, self.table.ids.dtype).alias(self.table.id_column))


def _taken(values: Tensor, offsets: Tensor, rows: Tensor) -> Ragged:
    """The given rows of a ragged column, none for -1."""
    known = rows.clamp(min=0)
    starts = offsets[known]
    return gather_slices(values, starts, torch.where(rows >= 0, offsets[known + 1] - starts, 0))


def _typed(users: Sequence[Id | None], dtype: pl.DataType) -> pl.Series:
    try:
        return pl.Series(list(users), dtype=dtype, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):  # ids that the table can't have: unknown, so null
        return pl.Series([user if _fits(user, dtype) else None for user in users], dtype=dtype)


def _fits(user: Id | None, dtype: pl.DataType) -> bool:
    return user is not None and fits(user, dtype)
