"""Which rows of a table another run has learned from, told by who, what and when, not by their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data import Histories, IdTable
from twotower.runs.tables import Tables

__all__ = ["KnownRows", "known_rows"]


@dataclass(frozen=True, eq=False)
class KnownRows:
    """What another run has learned from, beside the rows of a table.

    Attributes:
        keys: int64 ``[n]``: the same number for rows of one user, item and time (of one user and item, where there are no
            times); -1 for rows that the other run can't know.
        learned: int64 ``[keys]``: how many such rows it has learned from.
        timed: Whether times tell rows apart.
    """

    keys: NDArray[np.int64]
    learned: NDArray[np.int64]
    timed: bool

    def are_known(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some rows the other run has learned from, bool ``[m]``.

        Of equal rows it has learned from the first so many, in the order in which they are given.
        """
        keys = self.keys[rows]
        known = np.zeros(len(rows), dtype=np.bool_)
        places = np.flatnonzero(keys >= 0)
        places = places[np.argsort(keys[places], kind="stable")]
        ordered = keys[places]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        sizes = np.diff(np.append(starts, len(ordered)))
        nth = np.arange(len(ordered)) - np.repeat(starts, sizes)
        known[places] = nth < self.learned[ordered]
        return known

    def among(self, rows: NDArray[np.int64], *, beside: NDArray[np.int64]) -> int:
        """How many of some rows the other run must have learned from, beyond those of its rows that may be other ones.

        Args:
            rows: That it should not know.
            beside: That it may know; equal rows are first taken to be these.
        """
        size = len(self.learned)
        held = np.bincount(self.keys[rows][self.keys[rows] >= 0], minlength=size)
        others = np.bincount(self.keys[beside][self.keys[beside] >= 0], minlength=size)
        return int(np.minimum(held, np.maximum(self.learned - others, 0)).sum())


def known_rows(tables: Tables, users: IdTable, items: IdTable, histories: Histories) -> KnownRows:
    """Find what another run has learned from among the rows of a table.

    Args:
        tables: What was read.
        users: Those that the other run knows.
        items: Its catalogue.
        histories: What each of these users did in the rows that it has learned from.

    Raises:
        DataError: If ids are text here and integers there, or the other way round.
    """
    interactions = tables.interactions
    of_user = users.rows(tables.user_ids.ids)
    user_rows = of_user[tables.user_rows].astype(np.int64)
    item_rows = items.rows32(interactions.item_keys).astype(np.int64)
    learned_pairs = np.repeat(np.arange(histories.num_users), np.diff(histories.offsets.numpy())) * len(items)
    learned_pairs += histories.item_rows.numpy()
    pairs = np.where((user_rows >= 0) & (item_rows >= 0), user_rows * len(items) + item_rows, -1)
    times = interactions.times
    timed = times is not None and histories.times is not None
    columns = [learned_pairs]
    here = [pairs]
    if times is not None and histories.times is not None:
        dtype = np.result_type(times.dtype, histories.times.numpy().dtype)
        columns.append(histories.times.numpy().astype(dtype))
        here.append(times.astype(dtype))
    order = np.lexsort(columns[::-1])
    columns = [column[order] for column in columns]
    changes = np.zeros(len(order), dtype=np.bool_)
    for column in columns:
        changes[1:] |= column[1:] != column[:-1]
    number = np.cumsum(changes)
    learned = np.bincount(number) if len(number) else np.zeros(0, dtype=np.int64)
    firsts = np.concatenate([[0], np.flatnonzero(changes)]) if len(order) else np.zeros(0, dtype=np.int64)
    return KnownRows(_found([column[firsts] for column in columns], here), learned, timed)


def _found(known: list[NDArray[np.generic]], wanted: list[NDArray[np.generic]]) -> NDArray[np.int64]:
    """The place of each wanted row among known ones, which are distinct and sorted; -1 where it is not there."""
    size = len(known[0])
    everything = [np.concatenate([first, second]) for first, second in zip(known, wanted, strict=True)]
    order = np.lexsort(everything[::-1])  # stable: a known row comes before the wanted ones that equal it
    same = np.ones(len(order), dtype=np.bool_)
    same[:1] = False
    for column in everything:
        ordered = column[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    begins = np.flatnonzero(~same)
    of_group = order[begins]  # the first of each group: a known row, where there is one
    found = np.where(of_group < size, of_group, -1)[np.cumsum(~same) - 1]
    places = np.empty(len(order), dtype=np.int64)
    places[order] = found
    return places[size:]
