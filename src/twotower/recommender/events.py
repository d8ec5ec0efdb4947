"""Histories as requests give them and as bundles store them: items, and what else the query reads of each event."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.data import HistoryInput
from twotower.errors import ConfigError, DataError, nearest
from twotower.preprocessing import Preprocessor
from twotower.preprocessing.buckets import FittedBuckets
from twotower.recommender.history_inputs import event_column
from twotower.recommender.id_lookup import require_list
from twotower.recommender.items import Items
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Events, Id, QueryColumn, Ragged, gather_slices

__all__ = ["Event", "EventReader", "history_columns", "in_order", "item_of", "join_events", "kept", "require_items"]

Event: TypeAlias = Id | Mapping[str, object]
"""Something that a user did: the item's id, or what is known of it: ``{"item": "x", "time": 1700000000, "rating": 4}``."""

_ITEM, _TIME = "item", "time"


class EventReader:
    """Takes histories as requests give them.

    Where the query reads times, events are read in the order of their times, those of one time as they were given: as the rows
    of a table are, in whatever order they come. Only where stored histories are in another order (that of the rows of the
    table, ``data.columns.order = "row"``), given ones are read as they are.

    Args:
        preprocessor: As fitted.
        inputs: What the query reads of histories.
        users: Whose histories are stored.
    """

    def __init__(self, preprocessor: Preprocessor, inputs: Sequence[HistoryInput], users: StoredUsers) -> None:
        self._users = users
        self._features = [(f.config.name, event) for f in preprocessor.spec.history for event in f.events]
        self.reads_times = any(entry.times for entry in inputs)
        self.reads_request_time = any(entry.request_time for entry in inputs)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of an event beside its item and its time, sorted."""
        return tuple(sorted({event.config.column for _, event in self._features}))

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The same, encoded, by the names that histories have."""
        return tuple(event_column(name, event.config.output_name) for name, event in self._features)

    @property
    def readable(self) -> tuple[str, ...]:
        """The keys that an event may have."""
        return (_ITEM, *([_TIME] if self.reads_times else []), *self.columns)

    def events(self, histories: Sequence[Sequence[Event] | None], items: Items) -> Events:
        """Histories by catalogue rows, without items that there are none of; None has none.

        Args:
            histories: As given, the most recent last. An event without a value of a column is one whose value is missing.
            items: What they are of.

        Returns:
            The most recent last, by their times where these are read. Times are float64; there are none where none are read.

        Raises:
            ConfigError: If an event has a key that the query does not read.
            DataError: If something is no event, an id or a value is of another type, or an event lacks its time.
        """
        for history in histories:
            if history is not None:
                require_list(history, "a history")
        lengths = torch.tensor([0 if history is None else len(history) for history in histories], dtype=torch.int64)
        given = list(chain.from_iterable(history for history in histories if history is not None))
        described = any(isinstance(event, Mapping) for event in given)
        ids = require_items(given) if described else given
        if described:
            self._require_keys(given)
        kind = str if items.kind == "text" else (int, np.integer)
        wrong = [item for item in ids if not isinstance(item, kind)]
        if wrong:
            raise DataError(f"a history must hold item ids, which are {items.kind}; came {wrong[0]!r}")
        rows = items.rows(ids)  # type: ignore[arg-type]
        times = self._times(given) if self.reads_times else None
        columns = {}
        for name, event in self._features:
            values = _values(given, event.config.column)
            if values.dtype == pl.Null and isinstance(event, FittedBuckets):
                values = values.cast(pl.Float64)
            found = event.encode(values)[event.config.output_name]
            columns[event_column(name, event.config.output_name)] = found
        offsets = torch.zeros(len(histories) + 1, dtype=torch.int64)
        offsets[1:] = lengths.cumsum(0)
        read = kept(Events(Ragged(rows, offsets), times, None, columns), items.remembered(rows))
        return in_order(read) if self.reads_times and self._users.are_in_order else read

    def _require_keys(self, given: Sequence[Event]) -> None:
        readable = self.readable
        for event in given:
            for name in event if isinstance(event, Mapping) else ():
                if name not in readable:
                    raise ConfigError(f"histories: the query reads no {name!r} of an event{nearest(str(name), readable)}")

    def _times(self, given: Sequence[Event]) -> Tensor:
        found = []
        for event in given:
            time = event.get(_TIME) if isinstance(event, Mapping) else None
            if not _is_time(time):
                example = {name: "..." if name != _TIME else 1_700_000_000 for name in self.readable}
                raise DataError(
                    "the query reads when the events of a history were: give each as a mapping with its time in Unix seconds, "
                    f"such as {example!r}; came {event!r}"
                )
            found.append(float(time))  # type: ignore[arg-type]
        return torch.tensor(found, dtype=torch.float64)


def _is_time(value: object) -> bool:
    """Whether it is a finite number that a double has room for."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False


def require_items(events: Sequence[Event]) -> list[Id]:
    """The items of events.

    Raises:
        DataError: If an event has none.
    """
    for event in events:
        if isinstance(event, Mapping) and _ITEM not in event:
            raise DataError(f"an event of a history must have its item, under 'item'; came {dict(event)!r}")
    return [item_of(event) for event in events]


def item_of(event: Event) -> Id:
    """The item of an event."""
    return event[_ITEM] if isinstance(event, Mapping) else event  # type: ignore[return-value]


def _values(given: Sequence[Event], column: str) -> pl.Series:
    values = [event.get(column) if isinstance(event, Mapping) else None for event in given]
    if {type(value) for value in values} - {type(None)} == {int, float}:
        values = [None if value is None else float(value) for value in values]  # type: ignore[arg-type]
    try:
        return pl.Series(column, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"histories: column {column!r} must hold values of one type; came {values[:5]!r} ({error})") from None


def kept(events: Events, mask: Tensor) -> Events:
    """Leave out the events where ``mask`` (bool ``[total]``) is false."""
    assert isinstance(events.items, Ragged)
    return Events(
        events.items.keep(mask),
        None if events.times is None else events.times[mask],
        None,
        {name: values[mask] for name, values in events.columns.items()},
    )


def in_order(events: Events) -> Events:
    """The events of each row by their times, those of one time in the order that they have.

    Example:
        >>> events = Events(Ragged(torch.tensor([7, 8, 9]), torch.tensor([0, 2, 3])), torch.tensor([20.0, 10.0, 5.0]))
        >>> in_order(events).items.values.tolist(), in_order(events).times.tolist()
        ([8, 7, 9], [10.0, 20.0, 5.0])
    """
    assert isinstance(events.items, Ragged)
    assert events.times is not None
    rows = torch.repeat_interleave(torch.arange(events.num_rows), events.items.lengths)
    order = torch.argsort(events.times, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]
    return Events(
        events.items._replace(values=events.items.values[order]),
        events.times[order],
        events.asked,
        {name: values[order] for name, values in events.columns.items()},
    )


def join_events(*parts: Events) -> Events:
    """Histories of the same rows, row by row one after the other; each has what the others have of events."""
    ragged = [part.items for part in parts if isinstance(part.items, Ragged)]
    rows = torch.cat([torch.repeat_interleave(torch.arange(items.num_rows), items.lengths) for items in ragged])
    order = torch.argsort(rows, stable=True)
    times = [part.times.double() for part in parts if part.times is not None]
    return Events(
        Ragged(
            torch.cat([items.values.long() for items in ragged])[order],
            torch.stack([items.offsets for items in ragged]).sum(dim=0),
        ),
        torch.cat(times)[order] if times else None,
        None,
        {name: torch.cat([part.columns[name] for part in parts])[order] for name in parts[0].columns},
    )


def history_columns(
    history_inputs: Collection[HistoryInput], histories: Events | Ragged, asked: Tensor | None = None
) -> dict[str, QueryColumn]:
    """The query tower's columns of histories.

    Args:
        history_inputs: The query's history features.
        histories: Of each request, the most recent event last; items are catalogue rows.
        asked: When each request is, where that is read, ``[n]``.
    """
    if isinstance(histories, Ragged):
        histories = Events(histories)
    items = histories.items
    assert isinstance(items, Ragged)
    found: dict[str, QueryColumn] = {}
    for entry in history_inputs:
        lengths = items.lengths if entry.max_length is None else items.lengths.clamp(max=entry.max_length)
        starts = items.offsets[1:] - lengths
        latest = gather_slices(items.values, starts, lengths)
        read = Ragged(entry.values(latest.values.long()), latest.offsets)
        if not entry.of_events:
            found[entry.name] = read
            continue
        found[entry.name] = Events(
            read,
            gather_slices(histories.times, starts, lengths).values if entry.times and histories.times is not None else None,
            asked if entry.request_time else None,
            {own: gather_slices(histories.columns[name], starts, lengths).values for own, name in entry.columns.items()},
        )
    return found
