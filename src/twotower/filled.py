"""Ragged rows in as many values as there may be at most: shapes do not depend on how long the rows are.

So a CUDA graph can hold what is done with them. What is behind the last row is no row's: it only fills, with the values of the
rows again and again, so that whatever is looked up for it is looked up anyway, and nothing much more often than the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.types import Ragged

__all__ = ["Filled", "Fills", "fill_slices"]


class Filled(Ragged):
    """Rows of different lengths, end to end, and what fills.

    Attributes:
        values: Integers, shape ``[most]``; those from ``offsets[n]`` on only fill.
        offsets: int64, shape ``[n + 1]``.

    Example:
        >>> column = Filled(torch.tensor([7, 8, 9, 7]), torch.tensor([0, 2, 3]))
        >>> column.keep(torch.tensor([True, False, True, True])).values.tolist(), column.row_of_values().tolist()
        ([7, 9, 7, 9], [0, 0, 1, 2])
    """

    __slots__ = ()

    def row_of_values(self) -> Tensor:
        """int64 ``[most]``: which row each value is in; ``n`` for what fills."""
        places = torch.arange(len(self.values), device=self.offsets.device)
        return torch.searchsorted(self.offsets[1:].contiguous(), places, right=True)

    def take(self, rows: Tensor) -> Ragged:  # noqa: ARG002
        """Not from what is filled: rows are taken from what is not, see `Fills`."""
        raise TypeError("rows that are filled up have no rows to take: take them from where they came from")

    def keep(self, mask: Tensor) -> Filled:
        """Leave out the values where ``mask`` (bool ``[most]``) is false; the rows stay, shorter, and more is filled."""
        size = len(self.values)
        if not size:
            return self
        order = torch.arange(size, device=mask.device)
        kept = mask & (order < self.offsets[-1])
        ends = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        places = torch.where(kept, ends[1:] - 1, size)
        values = self.values.new_empty(size + 1).index_copy_(0, places, self.values)
        return Filled(_filled(values[:size], ends[-1:]), ends[self.offsets])

    def without(self, own: Tensor) -> Filled:
        """Leave out, of each row, the values that equal its own one (int64 ``[n]``); the rows stay, shorter."""
        rows = self.row_of_values().clamp_(max=max(0, len(own) - 1))
        return self.keep(self.values != own[rows]) if len(own) else self

    def to(self, device: torch.device | str) -> Filled:
        return Filled(self.values.to(device), self.offsets.to(device))

    def bags(self) -> Tensor:
        """int64 ``[2 n + 1]``: offsets of the rows, and of as many more that share what fills."""
        rows = len(self.offsets) - 1
        steps = torch.arange(1, rows + 1, device=self.offsets.device)
        end = self.offsets[-1:]
        return torch.cat([self.offsets, end + (len(self.values) - end) * steps // rows])


class Fills(Ragged):
    """A ragged column whose rows are filled up when they are taken; made by `Fills.of`.

    Example:
        >>> column = Fills.of(Ragged(torch.tensor([7, 8, 9]), torch.tensor([0, 2, 2, 3])))
        >>> column.take(torch.tensor([2, 0])).values.tolist()
        [9, 7, 8, 9]
    """

    longest: int

    @classmethod
    def of(cls, column: Ragged) -> Fills:
        """The same column; the host is told how long its longest row is."""
        found = cls(column.values, column.offsets)
        found.longest = int(column.lengths.max()) if column.num_rows else 0
        return found

    def take(self, rows: Tensor) -> Filled:
        """The given rows (int64 ``[m]``), in that order, filled up to ``m`` times the longest."""
        starts = self.offsets[rows]
        return fill_slices(self.values, starts, self.offsets[rows + 1] - starts, most=len(rows) * self.longest)


def fill_slices(values: Tensor, starts: Tensor, lengths: Tensor, *, most: int) -> Filled:
    """As `gather_slices`, of ``most`` values, which must be enough.

    Args:
        values: Any dtype, shape ``[total]``.
        starts: int64 ``[m]``.
        lengths: int64 ``[m]``, none negative.
        most: How many values the slices may have together.

    Example:
        >>> fill_slices(torch.tensor([4, 5, 6]), torch.tensor([1, 0]), torch.tensor([2, 1]), most=5).values.tolist()
        [5, 6, 4, 5, 6]
    """
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    if not most or not len(values):
        return Filled(values[:0], offsets)
    places = torch.arange(most, device=offsets.device)
    rows = torch.searchsorted(offsets[1:].contiguous(), places, right=True).clamp_(max=len(starts) - 1)
    read = (starts[rows] + places - offsets[rows]).clamp_(0, len(values) - 1)
    return Filled(_filled(values.index_select(0, read), offsets[-1:]), offsets)


def _filled(values: Tensor, count: Tensor) -> Tensor:
    """Values of which the first ``count`` (int64 ``[1]``) count, then these again and again; 0 where none does."""
    round_ = torch.arange(len(values), device=values.device) % count.clamp(min=1)
    return values.index_select(0, round_).mul_(count > 0)
