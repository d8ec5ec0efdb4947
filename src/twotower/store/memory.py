"""Both logs in memory: the simplest thing that keeps the contract, for tests and where nothing has to outlast the process."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from threading import Lock

from twotower.bundle import JSON
from twotower.store.contract import IdKind, Interaction, ItemChange, LoggedInteraction
from twotower.store.entries import ItemEntry, check_ids, checked_interactions, checked_items, checked_removals
from twotower.store.limits import check_after, check_count, check_kind
from twotower.types import Id

__all__ = ["MemoryStore"]


class MemoryStore:
    """An :class:`~twotower.store.ItemLog` and an :class:`~twotower.store.InteractionLog` that end with the process.

    Args:
        item_kind: What ids of items are.
        user_kind: What ids of users are.

    Example:
        >>> store = MemoryStore(item_kind="text", user_kind="integer")
        >>> store.append([Interaction(7, "b", 20.0), Interaction(7, "a", 10.0)])
        2
        >>> [entry.item for entry in store.histories([7])[0]]
        ['a', 'b']
    """

    def __init__(self, *, item_kind: IdKind, user_kind: IdKind) -> None:
        check_kind(item_kind, "item_kind")
        check_kind(user_kind, "user_kind")
        self.item_kind: IdKind = item_kind
        self.user_kind: IdKind = user_kind
        self._lock = Lock()
        self._changes: list[tuple[int, ItemEntry]] = []
        self._last_change = 0
        self._interactions: list[LoggedInteraction] = []
        self._histories: dict[Id, list[tuple[float, LoggedInteraction]]] = {}

    def put_items(self, items: Sequence[tuple[Id, Mapping[str, JSON]]]) -> int:
        """See :meth:`ItemLog.put_items <twotower.store.ItemLog.put_items>`."""
        return self._change(checked_items(items, self.item_kind))

    def remove_items(self, ids: Sequence[Id]) -> int:
        """See :meth:`ItemLog.remove_items <twotower.store.ItemLog.remove_items>`."""
        return self._change(checked_removals(ids, self.item_kind))

    def item_changes(self, after: int = 0, *, limit: int | None = None) -> list[ItemChange]:
        """See :meth:`ItemLog.item_changes <twotower.store.ItemLog.item_changes>`."""
        check_after(after)
        check_count(limit, "limit")
        with self._lock:
            found = [change for change in self._changes if change[0] > after][:limit]
        return [ItemChange(number, item, None if text is None else json.loads(text)) for number, (item, text) in found]

    def last_item_change(self) -> int:
        """See :meth:`ItemLog.last_item_change <twotower.store.ItemLog.last_item_change>`."""
        return self._last_change

    def compact_items(self) -> int:
        """See :meth:`ItemLog.compact_items <twotower.store.ItemLog.compact_items>`."""
        with self._lock:
            last = {entry.item: number for number, entry in self._changes}
            kept = [(number, entry) for number, entry in self._changes if last[entry.item] == number]
            forgotten = len(self._changes) - len(kept)
            self._changes = kept
        return forgotten

    def append(self, interactions: Sequence[Interaction]) -> int:
        """See :meth:`InteractionLog.append <twotower.store.InteractionLog.append>`."""
        checked = checked_interactions(interactions, self.user_kind, self.item_kind)
        with self._lock:
            for user, item, time in checked:
                logged = LoggedInteraction(len(self._interactions) + 1, user, item, time)
                history = self._histories.setdefault(user, [])
                at = time if time is not None else max((known for known, _ in history), default=-math.inf)
                history.append((at, logged))
                self._interactions.append(logged)
            return len(self._interactions)

    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        """See :meth:`InteractionLog.histories <twotower.store.InteractionLog.histories>`."""
        check_ids(users, self.user_kind, "user")
        check_count(latest, "latest")
        check_after(after)
        with self._lock:
            found = [[entry for entry in self._histories.get(user, ()) if entry[1].sequence > after] for user in users]
        in_order = [[logged for _, logged in sorted(history, key=lambda entry: entry[0])] for history in found]
        return in_order if latest is None else [history[-latest:] for history in in_order]

    def interactions(self, after: int = 0, *, limit: int | None = None) -> list[LoggedInteraction]:
        """See :meth:`InteractionLog.interactions <twotower.store.InteractionLog.interactions>`."""
        check_after(after)
        check_count(limit, "limit")
        with self._lock:
            return self._interactions[after:][:limit]

    def last_interaction(self) -> int:
        """See :meth:`InteractionLog.last_interaction <twotower.store.InteractionLog.last_interaction>`."""
        return len(self._interactions)

    def version(self) -> int:
        """A number that rises with every change of either log."""
        return self._last_change + len(self._interactions)

    def _change(self, entries: list[ItemEntry]) -> int:
        with self._lock:
            for entry in entries:
                self._last_change += 1
                self._changes.append((self._last_change, entry))
            return self._last_change
