"""From who asks to the vectors that the catalogue is searched with."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.data import HistoryInput
from twotower.errors import ConfigError, DataError, UnknownIdError
from twotower.models import TwoTower, rows_read, with_places
from twotower.preprocessing import Preprocessor
from twotower.recommender.events import Event, EventReader, history_columns, join_events, kept
from twotower.recommender.history_inputs import history_inputs
from twotower.recommender.id_lookup import require_list
from twotower.recommender.items import Items
from twotower.recommender.query_rows import QueryRows
from twotower.recommender.requests import FeatureRows, RequestDefaults, join_rows
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Events, Id, QueryColumn, Ragged

__all__ = ["Asked", "RequestEncoder"]


class Asked(NamedTuple):
    """Requests, encoded.

    Attributes:
        users: Who asks; None for whoever is not named.
        queries_BD: float32.
        seen: Catalogue rows that each is known to have met: the stored history and what came later, the history that the
            request gives, and what the user did not like.
        assumed: By raw column bool ``[B]``: where `RequestDefaults.values` stands in for what nobody gave.
    """

    users: list[Id | None]
    queries_BD: Tensor
    seen: Ragged
    assumed: dict[str, Tensor]


class RequestEncoder:
    """Puts requests together from what is stored and what is given, and encodes them.

    Args:
        model: In evaluation mode.
        preprocessor: As fitted with the model.
        items: What histories are of.
        users: Known users.
        defaults: For what a request leaves out.

    Attributes:
        reader: Takes histories that requests give.
    """

    def __init__(
        self, model: TwoTower, preprocessor: Preprocessor, items: Items, users: StoredUsers, defaults: RequestDefaults
    ) -> None:
        self._model, self._preprocessor, self._items, self._users = model, preprocessor, items, users
        self._query_rows = QueryRows(preprocessor, users, defaults)
        self._time_column = defaults.time_column
        self._history_inputs = self._inputs_of(items.catalogue.ids)
        self.reader = EventReader(preprocessor, self._history_inputs, users)

    @property
    def readable(self) -> tuple[str, ...]:
        """Columns that a request may give, sorted."""
        return self._query_rows.readable

    @property
    def stand_ins(self) -> dict[str, object]:
        """By column, what a value is taken as that nobody gives, before any feature reads it."""
        return self._query_rows.stand_ins

    def with_items(self, items: Items) -> RequestEncoder:
        """The same after items were put; those that were there before have the same rows."""
        changed = copy.copy(self)
        changed._items = items
        if len(items) != len(self._items):
            own = items.catalogue.id_column
            new = items.frame(np.arange(len(self._items), len(items)), [own])[own]
            changed._history_inputs = tuple(
                old
                if old.lookup is None or added.lookup is None
                else replace(old, lookup=torch.cat([old.lookup, added.lookup]))
                for old, added in zip(self._history_inputs, self._inputs_of(new), strict=True)
            )
        return changed

    def encode(
        self,
        users: Sequence[Id | None] | None,
        features: FeatureRows | None = None,
        histories: Sequence[Sequence[Event] | None] | None = None,
        *,
        later: Sequence[Sequence[Event]] | None = None,
    ) -> Asked:
        """Encode requests.

        Args:
            users: As of `Recommender.recommend`.
            features: As of `Recommender.recommend`.
            histories: As of `Recommender.recommend`.
            later: What each user met after the stored history, the most recent last; None: nothing. It makes a user known.

        Raises:
            ConfigError: As `Recommender.recommend`.
            DataError: As `Recommender.recommend`.
            UnknownIdError: As `Recommender.recommend`.
        """
        size = _num_requests(users, features, histories)
        asked: list[Id | None] = list(users) if users is not None else [None] * size
        rows = self._users.rows(asked)
        if features is None:
            self._require_known(asked, rows, histories, later)
        stored = self._stored(rows, later)
        history, seen = stored, [_items_of(stored)]
        if histories is not None:
            given = self.reader.events(histories, self._items)
            replaced = torch.tensor([entry is not None for entry in histories], dtype=torch.bool)
            left = kept(stored, ~replaced.repeat_interleave(_items_of(stored).lengths))
            history = join_events(left, given)
            seen.append(_items_of(given))
        if self._users.disliked is not None:
            seen.append(self._users.disliked_at(rows))
        queries_BD, assumed = self._vectors(asked, rows, features, history)
        return Asked(asked, queries_BD, seen[0] if len(seen) == 1 else join_rows(*seen), assumed)

    def history_of(self, user: Id | None, later: Sequence[Event] = ()) -> Events:
        """What the query reads of a user's events, one row: what is stored and what came later; none of an unknown one.

        Raises:
            ConfigError: As `encode`.
            DataError: As `encode`.
        """
        return self._stored(self._users.rows([user]), [later])

    def encode_events(self, user: Id | None, features: Mapping[str, object] | None, histories: Events) -> Tensor:
        """The vectors of one request, as if each of some histories were that of who asks: float32 ``[n, D]``.

        Args:
            user: Who asks; None: nobody who is named.
            features: What the request gives.
            histories: As `history_of` and the reader give them, ``n`` rows.

        Raises:
            ConfigError: As `encode`.
            DataError: As `encode`.
        """
        asked: list[Id | None] = [user] * histories.num_rows
        given = None if features is None else [features] * histories.num_rows
        return self._vectors(asked, self._users.rows(asked), given, histories)[0]

    def _stored(self, rows: Tensor, later: Sequence[Sequence[Event]] | None) -> Events:
        stored = self._users.events_at(rows, times=self.reader.reads_times, columns=self.reader.stored_columns)
        return stored if later is None else join_events(stored, self.reader.events(later, self._items))

    def _vectors(
        self, asked: Sequence[Id | None], rows: Tensor, features: FeatureRows | None, history: Events
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The vectors of requests, and by raw column where something was assumed."""
        columns, assumed = self._query_rows.columns(asked, rows, features)
        when = None
        if self.reader.reads_request_time and self._time_column is not None:
            when, assumed[self._time_column] = self._query_rows.times(asked, rows, features)
        with torch.inference_mode():
            queries_BD = self._encoded({**columns, **history_columns(self._history_inputs, history, when)})
        return queries_BD.clone(), assumed

    def _encoded(self, columns: Mapping[str, QueryColumn]) -> Tensor:
        """Query vectors; those of items in histories are looked up, never encoded anew."""
        names = self._model.item_columns
        if not names:
            return self._model.encode_queries(columns)
        rows = rows_read(columns, names)
        return self._model.encode_queries_with_items(with_places(columns, names, rows), self._items.read(rows))

    def _inputs_of(self, ids: pl.Series) -> tuple[HistoryInput, ...]:
        timed = {entry.column for entry in self._model.spec.query.inputs if entry.reads_times}
        return history_inputs(self._preprocessor, ids, timed)

    def _require_known(
        self,
        asked: Sequence[Id | None],
        rows: Tensor,
        histories: Sequence[Sequence[Event] | None] | None,
        later: Sequence[Sequence[Event]] | None,
    ) -> None:
        """Nothing would tell an unknown user without a history from any other."""
        for place, row in enumerate(rows.tolist()):
            if row < 0 and (histories is None or histories[place] is None) and not (later and later[place]):
                user = asked[place]
                described = self._users.lookup.describe_unknown(user) if user is not None else "a request came without a user"
                raise UnknownIdError(f"{described}; for a new user give features or a history")


def _items_of(events: Events) -> Ragged:
    assert isinstance(events.items, Ragged)
    return events.items


def _num_requests(
    users: Sequence[Id | None] | None, features: FeatureRows | None, histories: Sequence[Sequence[Event] | None] | None
) -> int:
    for name, ids in (("users", users), ("histories", histories)):
        if ids is not None:
            require_list(ids, name)
    given = {"users": users, "features": features, "histories": histories}
    lengths = {name: len(value) for name, value in given.items() if value is not None}
    if not lengths:
        raise ConfigError("give users, features or histories: nothing was asked for")
    if len(set(lengths.values())) > 1 and not isinstance(features, Mapping):
        came = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise DataError(f"users, features and histories must have one entry per request; came {came}")
    return next(iter(lengths.values()))
