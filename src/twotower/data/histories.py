"""What every user did, in order: one compressed table, sliced per query and never materialised per row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.types import Ragged, gather_slices

__all__ = ["Histories", "build_histories"]


@dataclass(frozen=True)
class Histories:
    """The item rows of every user, most recent last.

    Attributes:
        offsets: int64 ``[num_users + 1]``; user ``u`` has ``item_rows[offsets[u]:offsets[u + 1]]``.
        item_rows: int32 ``[total]``, rows of the catalogue.
        first: bool ``[total]``; whether the user meets the item for the first time there. A prefix of a history has each
            of its distinct items exactly once among its first meetings, which makes the seen set of any prefix a slice.
        times: Unix seconds, int64 or float64 ``[total]``; None when the table has no time.
    """

    offsets: Tensor
    item_rows: Tensor
    first: Tensor
    times: Tensor | None = None

    @property
    def num_users(self) -> int:
        return int(self.offsets.shape[0]) - 1

    def slices(self, user_rows: Tensor, ends: Tensor, *, max_length: int | None = None) -> Ragged:
        """The history of each query: its user's items before position ``ends``, at most the ``max_length`` latest.

        Args:
            user_rows: int64 ``[B]``.
            ends: int64 ``[B]``, positions into ``item_rows``, exclusive.
            max_length: None for all.

        Returns:
            Ragged catalogue rows, the most recent last.
        """
        starts = self.offsets[user_rows]
        if max_length is not None:
            starts = torch.maximum(starts, ends - max_length)
        return gather_slices(self.item_rows, starts, ends - starts)

    def seen(self, user_rows: Tensor, ends: Tensor) -> Ragged:
        """The distinct items of each query's user before position ``ends``; arguments as for `slices`."""
        starts = self.offsets[user_rows]
        lengths = ends - starts
        rows = gather_slices(self.item_rows, starts, lengths)
        return rows.keep(gather_slices(self.first, starts, lengths).values)

    def take(self, user_rows: Tensor) -> Histories:
        """The histories of some users (int64 ``[m]``), in that order."""
        starts = self.offsets[user_rows]
        lengths = self.offsets[user_rows + 1] - starts
        items = gather_slices(self.item_rows, starts, lengths)
        first = gather_slices(self.first, starts, lengths).values
        times = None if self.times is None else gather_slices(self.times, starts, lengths).values
        return Histories(items.offsets, items.values, first, times)

    def ends_of(self, user_rows: Tensor) -> Tensor:
        """The position after each user's last item: with it, `slices` gives the whole history."""
        return self.offsets[user_rows + 1]


def build_histories(
    user_rows: NDArray[np.int64],
    item_rows: NDArray[np.int64],
    order: NDArray[np.int64],
    *,
    num_users: int,
    member: NDArray[np.bool_] | None = None,
    times: NDArray[np.int64] | NDArray[np.float64] | None = None,
) -> tuple[Histories, Tensor]:
    """Build the table, and every interaction's position in it.

    Args:
        user_rows: User row of every interaction, ``[n]``.
        item_rows: Catalogue row of every interaction, ``[n]``; -1 (not in the catalogue) enters no history.
        order: The interactions from the earliest to the latest, a permutation of ``[n]``.
        num_users: Number of user rows.
        member: Which interactions may be seen by others, ``[n]``; the rest (test rows of a random split, say) have a
            position but enter no history. None: all.
        times: Unix seconds of every interaction, ``[n]``.

    Returns:
        The histories, and int64 ``[n]``: the position before which lies all that the interaction's user did before it.
    """
    entering = item_rows >= 0 if member is None else (item_rows >= 0) & member
    by_user = order[np.argsort(user_rows[order], kind="stable")]
    entered = entering[by_user]
    before = np.zeros(len(by_user) + 1, dtype=np.int64)
    np.cumsum(entered, out=before[1:])
    ends = np.empty(len(by_user), dtype=np.int64)
    ends[by_user] = before[:-1]

    rows = by_user[entered]
    offsets = np.zeros(num_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(user_rows[rows], minlength=num_users), out=offsets[1:])
    pairs = user_rows[rows] * (int(item_rows.max(initial=0)) + 1) + item_rows[rows]
    first = np.zeros(len(rows), dtype=np.bool_)
    first[np.unique(pairs, return_index=True)[1]] = True
    return (
        Histories(
            offsets=torch.from_numpy(offsets),
            item_rows=torch.from_numpy(item_rows[rows].astype(np.int32)),
            first=torch.from_numpy(first),
            times=None if times is None else torch.from_numpy(np.ascontiguousarray(times[rows])),
        ),
        torch.from_numpy(ends),
    )
