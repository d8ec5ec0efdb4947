"""A recommender whose items and histories change while it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from typing import NamedTuple, final

from twotower.bundle import JSON
from twotower.errors import ConfigError, DataError, TwotowerError
from twotower.recommender.answers import Answer, Request, answer_all
from twotower.recommender.column_values import fits
from twotower.recommender.events import Event, item_of
from twotower.recommender.id_lookup import require_list
from twotower.recommender.recommender import Recommender
from twotower.store import Interaction, InteractionLog, ItemLog, LoggedInteraction
from twotower.types import Events, Id

__all__ = ["LiveRecommender", "Moment"]


class Moment(NamedTuple):
    """Answers, and the recommender that made all of them: its rows are those of its own items.

    Attributes:
        recommender: As it was when they were made.
        answers: In the order of the requests.
    """

    recommender: Recommender
    answers: list[Answer | TwotowerError]


@final
class LiveRecommender:
    """Answers from a model, a log of the items that changed since it was trained, and a log of what its users did since.

    What any process has written to the logs is in the next answer. Items of the log take precedence over the bundle's
    catalogue. Interactions follow a user's stored history, except for those that are not later than its last time, which the
    model was trained with.

    Args:
        recommender: As loaded.
        items: What was put and removed.
        interactions: What users did.
        latest: At most so many interactions of a user are read.
        now: The time of an interaction that comes without one, Unix seconds.

    Raises:
        DataError: If an item of the log does not fit the model's catalogue.
        StoreError: If a log can't be read.
    """

    def __init__(
        self,
        recommender: Recommender,
        items: ItemLog,
        interactions: InteractionLog,
        *,
        latest: int = 1000,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._items, self._interactions, self._latest, self._now = items, interactions, latest, now
        self._current, self._sequence = recommender, 0
        self._lock = Lock()
        self.follow()

    @property
    def recommender(self) -> Recommender:
        """With all changes that were followed."""
        return self._current

    def follow(self) -> Recommender:
        """Take in what was written to the log of items since, by whatever process.

        Returns:
            The recommender with all changes.

        Raises:
            DataError: If an item does not fit the model's catalogue.
            StoreError: If the log can't be read.
        """
        if self._items.last_item_change() == self._sequence:
            return self._current
        with self._lock:
            changes = self._items.item_changes(self._sequence)
            if changes:
                last = {change.item: change.features for change in changes}
                put = {item: features for item, features in last.items() if features is not None}
                removed = [item for item, features in last.items() if features is None]
                try:
                    self._current = self._current.with_items(put, removed)
                except (ConfigError, DataError) as error:
                    raise DataError(
                        f"the log of items does not fit the model: {error}; remove the item, or put it anew"
                    ) from error
                self._sequence = changes[-1].sequence
            return self._current

    def answer(self, requests: Sequence[Request]) -> Moment:
        """Answer requests, see `answer_all`.

        Where an item of the log does not fit the model (another version has taken it), the items that were followed before it
        answer on; `follow`, and whatever writes, says so.

        Raises:
            StoreError: If a log can't be read.
        """
        recommender, _ = self._fitting()
        later = self._later(recommender, [request.user for request in requests])
        return Moment(recommender, answer_all(recommender, requests, later=later))

    def latest(self) -> Recommender:
        """What `answer` answers with now: all changes that fit.

        Raises:
            StoreError: If the log can't be read.
        """
        return self._fitting()[0]

    def _fitting(self) -> tuple[Recommender, bool]:
        """With all changes, or, where one does not fit, those that were followed before it; and whether it is all."""
        try:
            return self.follow(), True
        except DataError:
            return self._current, False

    def put_items(self, items: Mapping[Id, Mapping[str, JSON]]) -> Recommender:
        """Add items, or put others in the place of those with their ids; they are in the next answer.

        Raises:
            ConfigError: If the catalogue has no such column.
            DataError: If an id or a value is not of its column's type; nothing was written then.
            StoreError: If they can't be written; nothing was then.
        """
        recommender, _ = self._fitting()
        recommender.with_items(items)  # what the model can't encode is not written
        self._items.put_items(list(items.items()))
        return self.follow()

    def remove_items(self, ids: Collection[Id]) -> Recommender:
        """Take items out of all answers.

        Raises:
            DataError: If a single id came in place of a list.
            UnknownIdError: If one is not there.
            StoreError: If it can't be written.
        """
        require_list(ids, "items")
        recommender, whole = self._fitting()
        if whole:  # else it may be the very item that does not fit, which nobody here has seen
            recommender.items.require(list(ids), "items")
        self._items.remove_items(list(ids))
        return self.follow()

    def append(self, interactions: Sequence[Interaction]) -> None:
        """Add to histories; one without a time happened now.

        Raises:
            UnknownIdError: If an item is not in the catalogue.
            DataError: If a user's id is of the wrong type, or a time is no finite number.
            StoreError: If they can't be written.
        """
        recommender, _ = self._fitting()
        recommender.items.require([interaction.item for interaction in interactions], "interactions", removed=True)
        now = self._now()
        self._interactions.append([entry if entry.time is not None else entry._replace(time=now) for entry in interactions])

    def history(self, user: Id) -> list[Id]:
        """What a user met, stored and since, the most recent last."""
        recommender, _ = self._fitting()
        later = self._later(recommender, [user])
        return [*recommender.history(user), *(item_of(event) for event in (later[0] if later else ()))]

    def read(self, user: Id) -> tuple[Recommender, Events]:
        """What the query reads of what a user did, stored and since, one row of catalogue rows; and whose rows these are.

        Raises:
            StoreError: If a log can't be read.
        """
        recommender, _ = self._fitting()
        later = self._later(recommender, [user])
        return recommender, recommender.requests.history_of(user, later[0] if later else ())

    def _later(self, recommender: Recommender, users: Sequence[Id | None]) -> list[Sequence[Event]] | None:
        """What each user did after the stored history, with times where the model reads them; None where nobody did anything.

        What the log has without a time happened when what lies before it in the history did.
        """
        if self._interactions.last_interaction() == 0:
            return None
        dtype = recommender.users.table.ids.dtype
        wanted = str if recommender.users.lookup.kind == "text" else int
        # an id that no log can hold is of nobody, and no fault of those who are asked for beside it
        known = list(dict.fromkeys(user for user in users if type(user) is wanted and fits(user, dtype)))
        if not known:
            return None
        found = dict(zip(known, self._interactions.histories(known, latest=self._latest), strict=True))
        if not any(found.values()):
            return None
        last = recommender.users.last_times(known)
        later: dict[Id, list[Event]] = {}
        timed = recommender.requests.reader.reads_times
        for user, end in zip(known, last, strict=True):
            entries = [entry for entry in found[user] if end is None or entry.time is None or entry.time > end]
            later[user] = _timed(entries, end) if timed else [entry.item for entry in entries]
        return [later.get(user, ()) if type(user) is wanted else () for user in users]


def _timed(entries: Sequence[LoggedInteraction], end: float | None) -> list[Event]:
    """Entries with their times; one without has that of what lies before it, or if nothing does, behind it."""
    known = [entry.time for entry in entries if entry.time is not None]
    time = end if end is not None else known[0] if known else 0.0
    found: list[Event] = []
    for entry in entries:
        time = time if entry.time is None else entry.time
        found.append({"item": entry.item, "time": time})
    return found
