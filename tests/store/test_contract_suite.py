"""The suite finds a log that breaks the contract."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import twotower.store.interaction_log_suite
import twotower.store.item_log_suite
from twotower.bundle import JSON
from twotower.store import Interaction, ItemChange, LoggedInteraction, MemoryStore
from twotower.store.contract_suite import INTERACTION_LOG_CHECKS, ITEM_LOG_CHECKS
from twotower.types import Id


def test_every_check_is_listed() -> None:
    for module, listed in (
        (twotower.store.item_log_suite, ITEM_LOG_CHECKS),
        (twotower.store.interaction_log_suite, INTERACTION_LOG_CHECKS),
    ):
        there = [check for name, check in inspect.getmembers(module) if name.startswith("check_")]
        assert sorted(check.__name__ for check in there) == sorted(check.__name__ for check in listed)
        assert len(listed) >= 12


class AppendsOneByOne(MemoryStore):
    def append(self, interactions: Sequence[Interaction]) -> int:
        return [super(AppendsOneByOne, self).append([one]) for one in interactions][-1] if interactions else super().append([])


class PutsOneByOne(MemoryStore):
    def put_items(self, items: Sequence[tuple[Id, Mapping[str, JSON]]]) -> int:
        return [super(PutsOneByOne, self).put_items([one]) for one in items][-1] if items else super().put_items([])


class ForgetsRemovals(MemoryStore):
    def compact_items(self) -> int:
        forgotten = super().compact_items()
        self._changes = [change for change in self._changes if change[1].features is not None]
        return forgotten


class ReusesSequences(MemoryStore):
    def compact_items(self) -> int:
        forgotten = super().compact_items()
        self._last_change = len(self._changes)
        return forgotten


class OneTooMany(MemoryStore):
    def item_changes(self, after: int = 0, *, limit: int | None = None) -> list[ItemChange]:
        return super().item_changes(max(after - 1, 0) if isinstance(after, int) else after, limit=limit)


class InOrderOfArrival(MemoryStore):
    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        found = super().histories(users, after=after)
        return [sorted(history)[-latest if latest else None :] for history in found]


class TheFirst(MemoryStore):
    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        return [history[:latest] for history in super().histories(users, after=after)]


class WithoutTimesLast(MemoryStore):
    def histories(self, users: Sequence[Id], *, latest: int | None = None, after: int = 0) -> list[list[LoggedInteraction]]:
        found = [
            sorted(history, key=lambda e: (e.time is None, e.time or 0.0)) for history in super().histories(users, after=after)
        ]
        return found if latest is None else [history[-latest:] for history in found]


class IdsAsText(MemoryStore):
    def interactions(self, after: int = 0, *, limit: int | None = None) -> list[LoggedInteraction]:
        return [entry._replace(item=str(entry.item)) for entry in super().interactions(after, limit=limit)]


class EndsAtZero(MemoryStore):
    def put_items(self, items: Sequence[tuple[Id, Mapping[str, JSON]]]) -> int:
        cut: list[Any] = [(item.split("\0")[0] if isinstance(item, str) else item, features) for item, features in items]
        return super().put_items(cut)


@pytest.mark.parametrize(
    "broken",
    [
        AppendsOneByOne,
        PutsOneByOne,
        ForgetsRemovals,
        ReusesSequences,
        OneTooMany,
        InOrderOfArrival,
        TheFirst,
        WithoutTimesLast,
        IdsAsText,
        EndsAtZero,
    ],
)
def test_what_breaks_the_contract_is_found(broken: type[MemoryStore]) -> None:
    failed = []
    for check in ITEM_LOG_CHECKS:
        try:
            check(lambda item_kind: broken(item_kind=item_kind, user_kind="text"))
        except AssertionError:
            failed.append(check.__name__)
    for interaction_check in INTERACTION_LOG_CHECKS:
        try:
            interaction_check(lambda user_kind, item_kind: broken(item_kind=item_kind, user_kind=user_kind))
        except AssertionError:
            failed.append(interaction_check.__name__)
    assert failed
