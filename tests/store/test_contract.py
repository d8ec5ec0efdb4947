"""Both logs, held to the contract; another one joins by a line in ``STORES``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from twotower.store import IdKind, Interaction, LiveStore, MemoryStore
from twotower.store.contract_suite import INTERACTION_LOG_CHECKS, ITEM_LOG_CHECKS, MakeInteractionLog, MakeItemLog

Make = Callable[[IdKind, IdKind], LiveStore | MemoryStore]
STORES = ("memory", "file")


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path, open_store: Callable[..., LiveStore]) -> Make:
    numbers = itertools.count()

    def made(user_kind: IdKind, item_kind: IdKind) -> LiveStore | MemoryStore:
        if request.param == "memory":
            return MemoryStore(item_kind=item_kind, user_kind=user_kind)
        return open_store(tmp_path / f"{next(numbers)}.db", item_kind=item_kind, user_kind=user_kind)

    return made


@pytest.mark.parametrize("check", ITEM_LOG_CHECKS, ids=lambda check: check.__name__)
def test_items(check: Callable[[MakeItemLog], None], make: Make) -> None:
    check(lambda item_kind: make("text", item_kind))


@pytest.mark.parametrize("check", INTERACTION_LOG_CHECKS, ids=lambda check: check.__name__)
def test_interactions(check: Callable[[MakeInteractionLog], None], make: Make) -> None:
    check(make)


def test_the_version_rises_with_every_change_of_either_log(make: Make) -> None:
    store = make("text", "text")
    versions = [store.version()]
    store.put_items([("a", {})])
    versions.append(store.version())
    store.append([Interaction("u", "a")])
    versions.append(store.version())
    store.remove_items(["a", "b"])
    versions.append(store.version())
    store.append([Interaction("u", "a", 1.0)] * 3)
    versions.append(store.version())
    assert sorted(set(versions)) == versions
    store.compact_items()
    store.histories(["u"])
    store.put_items([])
    assert store.version() == versions[-1]
