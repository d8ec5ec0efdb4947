"""What every user did, in order: one compressed table, sliced per query and never materialised per row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
        columns: What else is known of each entry, encoded, by name, integers ``[total]``.
    """

    offsets: Tensor
    item_rows: Tensor
    first: Tensor
    times: Tensor | None = None
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def num_users(self) -> int:
        return int(self.offsets.shape[0]) - 1

    def slices(self, user_rows: Tensor, ends: Tensor, *, max_length: int | None = None) -> Ragged:
        """The history of each query: its user's items before position ``ends``, at most the ``max_length`` latest.

        Args:
            user_rows: int64 ``[B]``.
            ends: int64 or int32 ``[B]``, positions into ``item_rows``, exclusive.
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
        columns = {name: gather_slices(values, starts, lengths).values for name, values in self.columns.items()}
        return Histories(items.offsets, items.values, first, times, columns)

    def ends_of(self, user_rows: Tensor) -> Tensor:
        """The position after each user's last item: with it, `slices` gives the whole history."""
        return self.offsets[user_rows + 1]

    def to(self, device: torch.device | str) -> Histories:
        return Histories(
            self.offsets.to(device),
            self.item_rows.to(device),
            self.first.to(device),
            None if self.times is None else self.times.to(device),
            {name: values.to(device) for name, values in self.columns.items()},
        )


def build_histories(
    user_rows: NDArray[np.int64] | NDArray[np.int32],
    item_rows: NDArray[np.int64] | NDArray[np.int32],
    order: NDArray[np.int64] | None,
    *,
    num_users: int,
    member: NDArray[np.bool_] | None = None,
    times: NDArray[np.int64] | NDArray[np.float64] | None = None,
    columns: Mapping[str, NDArray[np.int32]] | None = None,
) -> tuple[Histories, Tensor]:
    """Build the table, and every interaction's position in it.

    Beside what is given and what is returned (9 bytes for each interaction, without times), it needs 8 bytes for each
    interaction while it works; what is given may be memory-mapped.

    Args:
        user_rows: User row of every interaction, ``[n]``.
        item_rows: Catalogue row of every interaction, ``[n]``; -1 (not in the catalogue) enters no history.
        order: The interactions from the earliest to the latest, a permutation of ``[n]``; None: as they come.
        num_users: Number of user rows.
        member: Which interactions may be seen by others, ``[n]``; the rest (test rows of a random split, say) have a
            position but enter no history. None: all.
        times: Unix seconds of every interaction, ``[n]``.
        columns: What else is to be known of every interaction, encoded, ``[n]`` each.

    Returns:
        The histories, and ``[n]``: the position before which lies all that the interaction's user did before it. Positions
        are int32 where fewer than 2**31 interactions came, otherwise int64.
    """
    n = len(user_rows)
    if order is not None and all(np.array_equal(order[part], np.arange(part.start, part.stop)) for part in _parts(n)):
        order = None
    by_user = _by_user(user_rows, order)
    entering = np.empty(n, dtype=np.bool_)
    for part in _parts(n):
        entering[part] = item_rows[part] >= 0 if member is None else (item_rows[part] >= 0) & member[part]
    total = int(np.count_nonzero(entering))

    offsets = np.zeros(num_users + 1, dtype=np.int64)
    before = np.empty(n, dtype=np.int32 if n < 2**31 else np.int64)
    items = np.empty(total, dtype=np.int32)
    at = None if times is None else np.empty(total, dtype=times.dtype)
    beside = {name: np.empty(total, dtype=values.dtype) for name, values in (columns or {}).items()}
    done = 0
    for part in _parts(n):
        rows = by_user[part]
        enters = entering[rows]
        reached = done + np.cumsum(enters)
        before[rows] = reached - enters
        rows = rows[enters]
        end = done + len(rows)
        items[done:end] = item_rows[rows]
        if at is not None and times is not None:
            at[done:end] = times[rows]
        for name, values in beside.items():
            values[done:end] = (columns or {})[name][rows]
        if len(rows):
            users = user_rows[rows]
            counts = np.bincount(users - users[0])
            offsets[int(users[0]) + 1 : int(users[0]) + 1 + len(counts)] += counts
        done = end
    np.cumsum(offsets, out=offsets)
    del by_user, entering
    return (
        Histories(
            offsets=torch.from_numpy(offsets),
            item_rows=torch.from_numpy(items),
            first=torch.from_numpy(_first_meetings(offsets, items)),
            times=None if at is None else torch.from_numpy(at),
            columns={name: torch.from_numpy(values) for name, values in beside.items()},
        ),
        torch.from_numpy(before),
    )


_PART = 2**20


def _parts(size: int) -> Iterator[slice]:
    """Slices of a million rows: what is computed on the way is held for one of them at a time."""
    return (slice(start, min(start + _PART, size)) for start in range(0, size, _PART))


def _by_user(user_rows: NDArray[np.int64] | NDArray[np.int32], order: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The interactions by user, those of a user in their order: int64 ``[n]``.

    User and place are sorted as one number, in place: quicker than a stable sort of positions, and without its copies.
    """
    n = len(user_rows)
    shift = n.bit_length()
    if n and int(user_rows.max()).bit_length() + shift > 63:
        raise ValueError(f"users and interactions must have numbers of 63 bits together; came {n} interactions")
    keys = np.empty(n, dtype=np.int64)
    for part in _parts(n):
        # a shift of int32 would stay int32
        np.left_shift(user_rows[part] if order is None else user_rows[order[part]], shift, out=keys[part], dtype=np.int64)
        keys[part] |= np.arange(part.start, part.stop)
    keys.sort()
    keys &= (1 << shift) - 1
    if order is not None:
        for part in _parts(n):
            keys[part] = order[keys[part]]
    return keys


def _first_meetings(offsets: NDArray[np.int64], items: NDArray[np.int32], *, most: int = 2**20) -> NDArray[np.bool_]:
    """Whether each entry of the histories is the first of its user and item, bool ``[total]``.

    A few users at a time, of ``most`` entries together or one user, whose user, item and place are sorted as one number.
    """
    first = np.zeros(len(items), dtype=np.bool_)
    width = int(items.max(initial=0)).bit_length()
    # user and place have as many bits each, beside those of the item
    most = min(most, 1 << (62 - width) // 2)
    user, num_users = 0, len(offsets) - 1
    while user < num_users:
        start = int(offsets[user])
        after = max(user + 1, int(np.searchsorted(offsets, start + most, side="right")) - 1)
        end, shift = int(offsets[after]), int(offsets[after] - start).bit_length()
        # where a user begins tells users apart in fewer bits than their rows: it is 0 for a user alone, however long
        keys = np.repeat(offsets[user:after] - start, np.diff(offsets[user : after + 1]))
        keys <<= width
        keys |= items[start:end]
        keys <<= shift
        keys |= np.arange(end - start)
        keys.sort()
        places = keys & ((1 << shift) - 1)
        keys >>= shift
        first[start + places[np.flatnonzero(np.diff(keys, prepend=-1))]] = True
        user = after
    return first
