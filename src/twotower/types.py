"""The few shapes of data that cross rooms: ragged and coded columns, and mappings of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias, overload

import torch
from torch import Tensor

from twotower.native.ragged import gather_rows, keep_values, other_values, place_rows

__all__ = [
    "Coded",
    "Column",
    "Computed",
    "Events",
    "Features",
    "HistoryStore",
    "Id",
    "Prefixes",
    "QueryColumn",
    "QueryFeatures",
    "Ragged",
    "StoredColumn",
    "StoredFeatures",
    "column_length",
    "column_to",
    "gather_slices",
    "sent",
    "take_column",
]

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

    def row_of_values(self) -> Tensor:
        """int64 ``[total]``: which row each value is in."""
        return torch.repeat_interleave(self.lengths)

    def take(self, rows: Tensor) -> Ragged:
        """The given rows (int64 ``[m]``), in that order, as a new ragged column."""
        placed = place_rows(self.offsets, rows)
        if placed is not None:
            gathered = gather_rows(self.values, *placed)
            if gathered is not None:
                return Ragged(gathered, placed[1])
        starts = self.offsets[rows]
        return gather_slices(self.values, starts, self.offsets[rows + 1] - starts)

    def keep(self, mask: Tensor) -> Ragged:
        """Leave out the values where ``mask`` (bool ``[total]``) is false; the rows stay, shorter."""
        found = keep_values(self.values, mask, self.offsets)
        if found is not None:
            return Ragged(*found)
        kept = torch.zeros(mask.shape[0] + 1, dtype=torch.int64, device=mask.device)
        torch.cumsum(mask, 0, out=kept[1:])
        return Ragged(self.values[mask], kept[self.offsets])

    def without(self, own: Tensor) -> Ragged:
        """Leave out, of each row, the values that equal its own one (int64 ``[n]``); the rows stay, shorter."""
        found = other_values(self.values, own, self.offsets)
        if found is not None:
            return Ragged(*found)
        return self.keep(self.values != torch.repeat_interleave(own, self.lengths))

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
    gathered = gather_rows(values, starts, offsets)
    if gathered is not None:
        return Ragged(gathered, offsets)
    shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
    return Ragged(values.index_select(0, torch.arange(shift.shape[0], device=shift.device) + shift), offsets)


class Prefixes(NamedTuple):
    """Rows of different lengths, each the beginning of a sequence that others may begin with too.

    What a batch of training holds of a column whose tower reads it in order: the histories of one user's rows are prefixes of
    one another, so that the sequence is there once, and encoded once.

    Attributes:
        sequences: The sequences, ragged, S of them.
        sequence_of: int64 ``[n]``, in ``[0, S)``: of which sequence each row is the beginning.
        lengths: int64 ``[n]``: how much of it.

    Example:
        >>> sequences = Ragged(torch.tensor([7, 8, 9]), torch.tensor([0, 3]))
        >>> column = Prefixes(sequences, torch.tensor([0, 0]), torch.tensor([1, 3]))
        >>> column.num_rows, column.ragged().values.tolist(), column.ragged().offsets.tolist()
        (2, [7, 7, 8, 9], [0, 1, 4])
    """

    sequences: Ragged
    sequence_of: Tensor
    lengths: Tensor

    @property
    def num_rows(self) -> int:
        return int(self.lengths.shape[0])

    def ragged(self) -> Ragged:
        """Every row for itself."""
        return gather_slices(self.sequences.values, self.sequences.offsets[self.sequence_of], self.lengths)

    def to(self, device: torch.device | str) -> Prefixes:
        return Prefixes(self.sequences.to(device), self.sequence_of.to(device), self.lengths.to(device))


class Events(NamedTuple):
    """Sequences of events: their items, and what else is known of each, end to end as the values of the items are.

    Attributes:
        items: The items of the events; of prefixes, those of the sequences.
        times: When each event was, Unix seconds, int64 or float64 ``[total]``; None where nobody reads them.
        asked: When what follows each sequence is asked for, of the dtype of ``times``, one for each row, of prefixes one for
            each sequence. What follows an event that is not the last of its sequence is the next one, at the time that it has.
            None where nobody reads it.
        columns: Rows of what else is known of each event, by name, integers ``[total]``.

    Example:
        >>> items = Ragged(torch.tensor([7, 8, 9]), torch.tensor([0, 2, 3]))
        >>> events = Events(items, torch.tensor([10, 20, 15]), torch.tensor([40, 60]))
        >>> second = events.take(torch.tensor([1]))
        >>> second.items.values.tolist(), second.times.tolist(), second.asked.tolist()
        ([9], [15], [60])
    """

    items: Ragged | Prefixes
    times: Tensor | None = None
    asked: Tensor | None = None
    columns: Mapping[str, Tensor] = MappingProxyType({})

    @property
    def num_rows(self) -> int:
        return self.items.num_rows

    def take(self, rows: Tensor) -> Events:
        """The given rows (int64 ``[m]``), in that order, each for itself."""
        if isinstance(self.items, Prefixes):
            return self.ragged().take(rows)
        order = torch.arange(len(self.items.values), device=self.items.values.device)
        places = Ragged(order, self.items.offsets).take(rows)
        return Events(
            Ragged(self.items.values.index_select(0, places.values), places.offsets),
            None if self.times is None else self.times.index_select(0, places.values),
            None if self.asked is None else self.asked.index_select(0, rows),
            {name: values.index_select(0, places.values) for name, values in self.columns.items()},
        )

    def ragged(self) -> Events:
        """Every row for itself."""
        if isinstance(self.items, Ragged):
            return self
        sequences, sequence_of, lengths = self.items
        order = torch.arange(len(sequences.values), device=sequences.values.device)
        places = Prefixes(Ragged(order, sequences.offsets), sequence_of, lengths).ragged()
        asked = None
        if self.asked is not None and self.times is not None:
            own = self.asked.index_select(0, sequence_of)
            after = sequences.offsets[sequence_of] + lengths
            inner = lengths < sequences.lengths[sequence_of]
            asked = own.masked_scatter(inner, self.times.index_select(0, after[inner]))
        return Events(
            self.items.ragged(),
            None if self.times is None else self.times.index_select(0, places.values),
            asked,
            {name: values.index_select(0, places.values) for name, values in self.columns.items()},
        )

    def to(self, device: torch.device | str) -> Events:
        return Events(
            self.items.to(device),
            None if self.times is None else self.times.to(device),
            None if self.asked is None else self.asked.to(device),
            {name: values.to(device) for name, values in self.columns.items()},
        )


Column: TypeAlias = Tensor | Ragged
"""One encoded feature: integer rows ``[n]``, ragged integer rows, or floats ``[n, width]``."""

Features: TypeAlias = Mapping[str, Column]
"""Encoded features by column name; every column has the same number of rows."""


QueryColumn: TypeAlias = Column | Events
"""One feature of some queries: an encoded one, or the events of their histories."""

QueryFeatures: TypeAlias = Mapping[str, QueryColumn | Prefixes]
"""What a tower is given: `Features`, of which some may be `Events`, or `Prefixes` while it is trained."""


class Coded(NamedTuple):
    """A stored column of few distinct rows: each is there once, and every row says which of them it is.

    A column of millions of rows so takes a byte or two a row whatever an encoded row is (a ragged list, a point of three
    floats), and the codes may stay in a file that is memory-mapped. A tower never sees one: `take_column` gives it a `Column`.

    Attributes:
        codes: uint8, int16 or int32 (int64 does too), ``[n]``, each in ``[0, distinct)``.
        values: The distinct rows, tensor or ragged, ``distinct`` of them; row ``i`` is row ``codes[i]`` of these.

    Example:
        >>> column = Coded(torch.tensor([1, 0, 1], dtype=torch.uint8), torch.tensor([30, 20]))
        >>> take_column(column, torch.tensor([0, 1])).tolist()
        [20, 30]
    """

    codes: Tensor
    values: Tensor | Ragged

    @property
    def num_rows(self) -> int:
        return int(self.codes.shape[0])

    def take(self, rows: Tensor) -> Column:
        """The given rows (int64 ``[m]``), in that order, no longer coded."""
        # an index of torch must be int32 or int64, and uint8 would be read as a mask
        return take_column(self.values, self.codes.index_select(0, rows).to(torch.int64))

    def to(self, device: torch.device | str) -> Coded:
        return Coded(self.codes.to(device), self.values.to(device))


class Computed(NamedTuple):
    """A stored column whose rows are computed when they are taken, from what their table holds.

    It takes no memory beside that of the table, which may be memory-mapped. A tower never sees one: `take_column` gives it a
    `Column`.

    Attributes:
        num_rows: How many rows there are.
        compute: From row numbers (int64 ``[m]``, on the CPU) to the encoded rows.

    Example:
        >>> degrees = torch.tensor([0.0, 90.0, 180.0])
        >>> column = Computed(3, lambda rows: torch.cos(torch.deg2rad(degrees[rows])))
        >>> take_column(column, torch.tensor([2, 0])).tolist()
        [-1.0, 1.0]
    """

    num_rows: int
    compute: Callable[[Tensor], Column]

    def take(self, rows: Tensor) -> Column:
        """The given rows (int64 ``[m]``), in that order."""
        return self.compute(rows)

    def to(self, device: torch.device | str) -> Computed:
        return Computed(self.num_rows, lambda rows: self.compute(rows.cpu()).to(device))


StoredColumn: TypeAlias = Tensor | Ragged | Coded | Computed
"""One encoded feature as it is kept for all rows; what a tower gets is a `Column`."""

StoredFeatures: TypeAlias = Mapping[str, StoredColumn]
"""Encoded features as they are kept, by column name; every column has the same number of rows."""


@overload
def take_column(column: StoredColumn, rows: Tensor) -> Column: ...


@overload
def take_column(column: StoredColumn | Events, rows: Tensor) -> QueryColumn: ...


def take_column(column: StoredColumn | Events, rows: Tensor) -> QueryColumn:
    """Gather rows (int64 ``[m]``, none negative) of a column, in whatever form it is kept."""
    return column.index_select(0, rows) if isinstance(column, Tensor) else column.take(rows)


@overload
def column_to(column: Column, device: torch.device | str) -> Column: ...


@overload
def column_to(column: Events, device: torch.device | str) -> Events: ...


@overload
def column_to(column: StoredColumn, device: torch.device | str) -> StoredColumn: ...


def column_to(column: StoredColumn | Events, device: torch.device | str) -> StoredColumn | Events:
    """Move a column to a device."""
    return column.to(device)


PINNING = {"cuda"}
"""Types of devices to which memory of the host is copied without waiting, where it is pinned."""


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device, which is not waited for where that can be had: few values, for they are pinned first."""
    if device.type in PINNING and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def column_length(column: StoredColumn | Events) -> int:
    """How many rows a column has."""
    return int(column.shape[0]) if isinstance(column, Tensor) else column.num_rows


class HistoryStore(Protocol):
    """Where the histories of known users come from when recommending: a bundle's, or a live store's."""

    def __contains__(self, user: object) -> bool:
        """Whether the user is known."""
        ...

    def histories(self, users: Sequence[Id]) -> Ragged:
        """The items of each user, catalogue rows, the most recent last; an unknown user has none."""
        ...
