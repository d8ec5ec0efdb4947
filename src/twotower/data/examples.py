"""Interactions as integers and floats: what training and evaluation read instead of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from twotower.data.histories import Histories
from twotower.data.sequences import sequence_starts, share_sequences
from twotower.types import (
    Coded,
    Column,
    Computed,
    Events,
    Features,
    Prefixes,
    QueryColumn,
    Ragged,
    StoredColumn,
    StoredFeatures,
    gather_slices,
    take_column,
)

__all__ = ["Examples", "HistoryInput", "Taken"]


@dataclass(frozen=True)
class HistoryInput:
    """A query feature that is sliced from the histories.

    Attributes:
        name: Name of the encoded column.
        lookup: int32 ``[N]``: the vocabulary row of every catalogue row; None: the column holds catalogue rows themselves.
        max_length: At most the latest so many items, counted before the row's own are left out; None for all.
        mode: ``before``: what the user did before the row. ``others``: all of the user's rows in the histories, which for
            random splits are the other train rows. Where ``seen_before`` holds, a row that is judged reads only what came
            before it all the same: the histories then hold the row itself and later ones.
        own_item: ``exclude``: in training, the row's own item is left out wherever it occurs, so that the target is never
            its own feature. ``allow``: only the row itself is left out (re-watching is a signal).
        in_order: Whether an encoder reads it: in training, rows of a user then share sequences, see `sequence_starts`. With
            ``max_length``, ``before`` and ``allow`` only.
        times: Whether the encoder reads when the events were.
        request_time: Whether it reads when the row itself was, which is when its item was asked for.
        columns: What else it reads of each event: by its own name, the name among those of the histories. What has one of the
            three is a column of `Events`.
    """

    name: str
    lookup: Tensor | None
    max_length: int | None = None
    mode: Literal["before", "others"] = "before"
    own_item: Literal["exclude", "allow"] = "exclude"
    in_order: bool = False
    times: bool = False
    request_time: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def of_events(self) -> bool:
        """Whether more is read of the events than their items."""
        return self.times or self.request_time or bool(self.columns)

    def __post_init__(self) -> None:
        if self.of_events and not self.in_order:
            raise ValueError(f"{self.name!r}: times and columns of events are of what is read in order")
        if self.request_time and not self.times:
            raise ValueError(f"{self.name!r}: the time of a request has a meaning beside those of the events only")
        if self.in_order and (self.max_length is None or self.mode != "before" or self.own_item != "allow"):
            raise ValueError(f"{self.name!r}: what is read in order needs max_length, mode 'before' and own_item 'allow'")

    def values(self, item_rows: Tensor) -> Tensor:
        """What the column holds of catalogue rows (integers ``[m]``)."""
        return item_rows if self.lookup is None else self.lookup.index_select(0, item_rows)

    def to(self, device: torch.device | str) -> HistoryInput:
        return self if self.lookup is None else replace(self, lookup=self.lookup.to(device))


@dataclass(frozen=True, slots=True)
class Taken:
    """Some rows of examples, copied; features of users by row. Integers are int64: whatever is computed with them has room.

    Attributes:
        users: int64 ``[m]``, rows of the users.
        items: int64 ``[m]``, catalogue rows.
        before: int64 ``[m]``, positions in the histories; None where no feature is sliced from them.
        columns: The query features but for those that are sliced from the histories.
        weights: float32 ``[m]``, or None.
        outcomes: As those of the examples.
        times: As those of the examples, ``[m]``, or None.
    """

    users: Tensor
    items: Tensor
    before: Tensor | None
    columns: Features
    weights: Tensor | None
    outcomes: Mapping[str, Tensor]
    times: Tensor | None = None

    def part(self, first: int, end: int) -> Taken:
        """Rows ``first`` to ``end - 1`` of these, not copied."""
        return Taken(
            self.users[first:end],
            self.items[first:end],
            None if self.before is None else self.before[first:end],
            {name: _part(column, first, end) for name, column in self.columns.items()},
            None if self.weights is None else self.weights[first:end],
            {name: values[first:end] for name, values in self.outcomes.items()},
            None if self.times is None else self.times[first:end],
        )


@dataclass(frozen=True)
class Examples:
    """Encoded interactions, with what their users did around them.

    Whatever has a value per row may be memory-mapped: a batch reads its own rows and no others.

    Attributes:
        user_rows: int64 or int32 ``[n]``, rows of ``users``.
        item_rows: int64 or int32 ``[n]``, catalogue rows; -1 for an item that the catalogue lacks (evaluation only).
        users: Features of every user, once.
        context: Features of every interaction, ``[n]`` rows.
        histories: Of all users.
        before: int64 or int32 ``[n]``: positions in the histories; what the row's user did before it lies in front of it.
        seen_before: Whether the seen set of a row, and its history when it is judged, is what came before it; otherwise all
            of its user's history.
        history_inputs: Query features sliced from the histories.
        weights: float32 ``[n]``, how much each row counts in the loss; None: all alike.
        outcomes: What rows came to (a rating), by name of the column: float64 ``[n]``, NaN where a row has none. Targets of
            heads, never inputs.
        times: When each row was, ``[n]``, of the dtype of the histories' times; None where no feature reads it.
    """

    user_rows: Tensor
    item_rows: Tensor
    users: StoredFeatures
    context: StoredFeatures
    histories: Histories
    before: Tensor
    seen_before: bool
    history_inputs: tuple[HistoryInput, ...] = ()
    weights: Tensor | None = None
    outcomes: Mapping[str, Tensor] = field(default_factory=dict)
    times: Tensor | None = None

    def __len__(self) -> int:
        return int(self.user_rows.shape[0])

    def to(self, device: torch.device | str) -> Examples:
        """All of it on a device, where rows are then taken: a column that is computed is computed here, once."""
        return Examples(
            self.user_rows.to(device),
            self.item_rows.to(device),
            {name: _held(column, device) for name, column in self.users.items()},
            {name: _held(column, device) for name, column in self.context.items()},
            self.histories.to(device),
            self.before.to(device),
            self.seen_before,
            tuple(entry.to(device) for entry in self.history_inputs),
            None if self.weights is None else self.weights.to(device),
            {name: values.to(device) for name, values in self.outcomes.items()},
            None if self.times is None else self.times.to(device),
        )

    def num_bytes(self) -> int:
        """How much memory `to` takes on a device; of a column that is computed, as many rows like its first ones."""
        own = (self.user_rows, self.item_rows, self.before, self.weights, self.times, *self.outcomes.values())
        histories = self.histories
        beside = (histories.offsets, histories.item_rows, histories.first, histories.times, *histories.columns.values())
        lookups = (entry.lookup for entry in self.history_inputs)
        tensors = sum(each.numel() * each.element_size() for each in (*own, *beside, *lookups) if each is not None)
        return tensors + sum(_column_bytes(column) for column in (*self.users.values(), *self.context.values()))

    def queries(self, rows: Tensor, *, training: bool) -> dict[str, QueryColumn]:
        """The query features of some rows.

        Args:
            rows: int64 ``[B]``, rows of these examples.
            training: The rows are themselves part of the histories, so that their own item is left out of them.

        Returns:
            By name of the column, ``[B]`` rows each; histories are ragged, the most recent last.
        """
        return self.queries_of(self.take(rows), training=training)

    def take(self, rows: Tensor) -> Taken:
        """Copy some rows, int64 ``[m]``.

        Of a few rows most of the work is the calls of operations: taking many at once and handing out parts of them is cheap.
        """
        users = _integers(self.user_rows, rows)
        columns = {name: take_column(column, users) for name, column in self.users.items()}
        columns |= {name: take_column(column, rows) for name, column in self.context.items()}
        return Taken(
            users,
            _integers(self.item_rows, rows),
            _integers(self.before, rows) if self.history_inputs else None,
            columns,
            None if self.weights is None else self.weights.index_select(0, rows),
            {name: values.index_select(0, rows) for name, values in self.outcomes.items()},
            None if self.times is None else self.times.index_select(0, rows),
        )

    def queries_of(self, taken: Taken, *, training: bool) -> dict[str, QueryColumn]:
        """The query features of rows that were taken; see `queries`."""
        columns: dict[str, QueryColumn] = dict(taken.columns)
        for entry in self.history_inputs:
            if entry.of_events:
                columns[entry.name] = self._events(entry, taken, training=training)
            else:
                columns[entry.name] = _looked_up(entry, self._history(entry, taken, training=training))
        return columns

    def _events(self, entry: HistoryInput, taken: Taken, *, training: bool) -> Events:
        assert taken.before is not None
        starts, lengths = self._read(entry, taken.users, taken.before, training=training)
        items = _looked_up(entry, gather_slices(self.histories.item_rows, starts, lengths))
        return self._beside(entry, items, starts, lengths, taken.times)

    def _beside(
        self, entry: HistoryInput, items: Ragged | Prefixes, starts: Tensor, lengths: Tensor, asked: Tensor | None
    ) -> Events:
        """What is read of the events of slices beside their items."""
        histories = self.histories
        if (entry.times and histories.times is None) or (entry.request_time and asked is None):
            raise ValueError(f"{entry.name!r}: the histories, or the rows, lack the times that are read")
        return Events(
            items,
            gather_slices(histories.times, starts, lengths).values if entry.times and histories.times is not None else None,
            asked if entry.request_time else None,
            {own: gather_slices(histories.columns[name], starts, lengths).values for own, name in entry.columns.items()},
        )

    def shared_queries_of(self, taken: Taken) -> dict[str, QueryColumn | Prefixes]:
        """The query features of rows that are trained on; what is read in order is there once for all rows that share it.

        The rows are those that `queries_of` gives in training.
        """
        columns: dict[str, QueryColumn | Prefixes] = dict(taken.columns)
        for entry in self.history_inputs:
            if entry.in_order:
                assert taken.before is not None
                starts, lengths = self._sequences(entry, taken.users, taken.before)
                shared = share_sequences(self.histories.item_rows, starts, lengths)
                shared = shared._replace(sequences=_looked_up(entry, shared.sequences))
                columns[entry.name] = self._shared_events(entry, shared, starts, taken) if entry.of_events else shared
            else:
                columns[entry.name] = _looked_up(entry, self._history(entry, taken, training=True))
        return columns

    def _shared_events(self, entry: HistoryInput, shared: Prefixes, starts: Tensor, taken: Taken) -> Events:
        begins = torch.empty(shared.sequences.num_rows, dtype=torch.int64, device=starts.device)
        begins.scatter_(0, shared.sequence_of, starts)
        asked = None
        if taken.times is not None:  # that of the row that reads all of a sequence
            longest = (shared.lengths == shared.sequences.lengths[shared.sequence_of]).nonzero().flatten()
            asked = torch.empty(len(begins), dtype=taken.times.dtype, device=begins.device)
            asked.scatter_(0, shared.sequence_of[longest], taken.times[longest])
        return self._beside(entry, shared, begins, shared.sequences.lengths, asked)

    def sequences(self, entry: HistoryInput) -> tuple[Tensor, Tensor]:
        """Where in the histories the sequence of each row begins when it is trained on, and its length: int64 ``[n]`` each."""
        return self._sequences(entry, self.user_rows.to(torch.int64), self.before.to(torch.int64))

    def _sequences(self, entry: HistoryInput, users: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        assert entry.max_length is not None
        starts = sequence_starts(self.histories.offsets[users], before, entry.max_length)
        return starts, before - starts

    def _read(self, entry: HistoryInput, users: Tensor, before: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Where in the histories begins what is read in order of each row, and how long it is."""
        if training:
            return self._sequences(entry, users, before)
        assert entry.max_length is not None
        starts = torch.maximum(self.histories.offsets[users], before - entry.max_length)
        return starts, before - starts

    def _history(self, entry: HistoryInput, taken: Taken, *, training: bool) -> Ragged:
        assert taken.before is not None
        if entry.in_order and training:
            return gather_slices(self.histories.item_rows, *self._sequences(entry, taken.users, taken.before))
        in_front = entry.mode == "before" or (self.seen_before and not training)
        ends = taken.before if in_front else self.histories.ends_of(taken.users)
        items = self.histories.slices(taken.users, ends, max_length=entry.max_length)
        if not training:
            return items
        if entry.own_item == "exclude":
            return items.without(taken.items)
        if entry.mode == "before":
            return items
        # in mode "others" the row itself is in the slice; its position says where
        first = ends - items.lengths
        rows = items.row_of_values().clamp_(max=len(first) - 1)
        positions = torch.arange(len(rows), device=rows.device) + (first - items.offsets[:-1]).index_select(0, rows)
        return items.keep(positions != taken.before.index_select(0, rows))

    def seen(self, rows: Tensor) -> Ragged:
        """The distinct catalogue rows that each row's user has seen, for leaving them out of a ranking."""
        users = _integers(self.user_rows, rows)
        return self.histories.seen(users, _integers(self.before, rows) if self.seen_before else self.histories.ends_of(users))


def _looked_up(entry: HistoryInput, items: Ragged) -> Ragged:
    return items._replace(values=entry.values(items.values))


def _integers(values: Tensor, rows: Tensor) -> Tensor:
    """Integers of some rows, int64: whatever is computed with them has room."""
    return values.index_select(0, rows).to(torch.int64)


def _part(column: Column, first: int, end: int) -> Column:
    if isinstance(column, Tensor):
        return column[first:end]
    start, stop = int(column.offsets[first]), int(column.offsets[end])
    return Ragged(column.values[start:stop], column.offsets[first : end + 1] - start)


_AT_ONCE = 2**16


def _held(column: StoredColumn, device: torch.device | str) -> StoredColumn:
    """A column on a device, whose rows are taken there."""
    if not isinstance(column, Computed):
        return column.to(device)
    parts = [
        column.take(torch.arange(start, min(start + _AT_ONCE, column.num_rows))).to(device)
        for start in range(0, column.num_rows, _AT_ONCE)
    ] or [column.take(torch.arange(0)).to(device)]
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if tensors:
        return torch.cat(tensors)
    ragged = [part for part in parts if isinstance(part, Ragged)]
    lengths = torch.cat([part.lengths for part in ragged])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Ragged(torch.cat([part.values for part in ragged]), offsets)


def _column_bytes(column: StoredColumn) -> int:
    if isinstance(column, Computed):
        rows = min(column.num_rows, _AT_ONCE)
        return _column_bytes(column.take(torch.arange(rows))) * column.num_rows // rows if rows else 0
    if isinstance(column, Coded):
        return _column_bytes(column.codes) + _column_bytes(column.values)
    if isinstance(column, Ragged):
        return _column_bytes(column.values) + _column_bytes(column.offsets)
    return column.numel() * column.element_size()
