"""The few shapes of data that cross rooms: ragged columns and mappings of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

__all__ = ["Column", "Features", "HistoryStore", "Id", "Ragged", "column_length", "column_to", "gather_slices", "take_column"]

Id: TypeAlias = str | int
"""An external id, as the user's data has it."""


class Ragged(NamedTuple):
    """Rows of different lengths, end to end.

    Attributes:
        values: Integers, shape ``[total]``.
        offsets: int64, shape ``[n + 1]``; row ``i`` is ``values[offsets[i]:offsets[i + 1]]``. Starts at 0, ends at ``total``.

    Example:
        >>> column = Ragged(torch.tensor([7, 8, 9]), torch.tensor([0, 2, 2, 3]))
        >>> column.num_rows, column.lengths.tolist()
        (3, [2, 0, 1])
        >>> column.take(torch.tensor([2, 0])).values.tolist()
        [9, 7, 8]
    """

    values: Tensor
    offsets: Tensor

    @property
    def num_rows(self) -> int:
        return int(self.offsets.shape[0]) - 1

    @property
    def lengths(self) -> Tensor:
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, rows: Tensor) -> Ragged:
        """The given rows (int64 ``[m]``), in that order, as a new ragged column."""
        starts = self.offsets[rows]
        return gather_slices(self.values, starts, self.offsets[rows + 1] - starts)

    def keep(self, mask: Tensor) -> Ragged:
        """Leave out the values where ``mask`` (bool ``[total]``) is false; the rows stay, shorter."""
        kept = torch.zeros(mask.shape[0] + 1, dtype=torch.int64, device=mask.device)
        torch.cumsum(mask, 0, out=kept[1:])
        return Ragged(self.values[mask], kept[self.offsets])

    def to(self, device: torch.device | str) -> Ragged:
        return Ragged(self.values.to(device), self.offsets.to(device))


def gather_slices(values: Tensor, starts: Tensor, lengths: Tensor) -> Ragged:
    """Concatenate ``values[starts[i]:starts[i] + lengths[i]]`` for every ``i``, without a loop in Python.

    Args:
        values: Any dtype, shape ``[total]``.
        starts: int64 ``[m]``.
        lengths: int64 ``[m]``, none negative.
    """
    offsets = torch.zeros(lengths.shape[0] + 1, dtype=torch.int64, device=lengths.device)
    torch.cumsum(lengths, 0, out=offsets[1:])
    shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
    return Ragged(values[torch.arange(shift.shape[0], device=shift.device) + shift], offsets)


Column: TypeAlias = Tensor | Ragged
"""One encoded feature: integer rows ``[n]``, ragged integer rows, or floats ``[n, width]``."""

Features: TypeAlias = Mapping[str, Column]
"""Encoded features by column name; every column has the same number of rows."""


def take_column(column: Column, rows: Tensor) -> Column:
    """Gather rows (int64 ``[m]``) of a column, ragged or not."""
    return column.take(rows) if isinstance(column, Ragged) else column[rows]


def column_to(column: Column, device: torch.device | str) -> Column:
    """Move a column to a device."""
    return column.to(device)


def column_length(column: Column) -> int:
    """How many rows a column has."""
    return column.num_rows if isinstance(column, Ragged) else int(column.shape[0])


class HistoryStore(Protocol):
    """Where the histories of known users come from when recommending: a bundle's, or a live store's."""

    def __contains__(self, user: object) -> bool:
        """Whether the user is known."""
        ...

    def histories(self, users: Sequence[Id]) -> Ragged:
        """The items of each user, catalogue rows, the most recent last; an unknown user has none."""
        ...
