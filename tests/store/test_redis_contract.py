"""The store in Redis, held to the contract with a server of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.store.redis_server import RedisServer, needs_redis

from twotower.store import IdKind, Interaction, RedisStore
from twotower.store.contract_suite import INTERACTION_LOG_CHECKS, ITEM_LOG_CHECKS, MakeInteractionLog, MakeItemLog

pytestmark = needs_redis

Make = Callable[[IdKind, IdKind], RedisStore]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server.url
    server.stop()


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    stores: list[RedisStore] = []

    def made(user_kind: IdKind, item_kind: IdKind) -> RedisStore:
        prefix = f"{{test}}-{next(_numbers)}"
        stores.append(RedisStore.open(url, prefix=prefix, item_kind=item_kind, user_kind=user_kind, wait_s=30))
        return stores[-1]

    yield made
    for store in stores:
        store.close()


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
    store.append([Interaction("u", "a"), Interaction("u", "a", 1.0)])
    versions.append(store.version())
    store.remove_items(["a", "b"])
    versions.append(store.version())
    assert versions == [0, 1, 3, 5]
    store.compact_items()
    store.histories(["u"])
    store.put_items([])
    assert store.version() == 5


def test_more_than_a_page_is_read_whole(make: Make) -> None:
    store = make("integer", "integer")
    store.append([Interaction(7, n, float(n)) for n in range(12_000)])
    store.put_items([(n % 100, {"n": n}) for n in range(12_000)])
    assert [entry.item for entry in store.interactions()] == list(range(12_000))
    assert [entry.item for entry in store.interactions(100, limit=11_000)] == list(range(100, 11_100))
    assert [entry.item for entry in store.histories([7], after=1_000)[0]] == list(range(1_000, 12_000))
    assert [entry.item for entry in store.histories([7], after=1_000, latest=700)[0]] == list(range(11_300, 12_000))
    assert store.histories([7], after=11_999, latest=2)[0] == store.interactions(11_999)
    assert len(store.item_changes()) == 12_000
    assert store.compact_items() == 11_900
    assert [change.features for change in store.item_changes()] == [{"n": n} for n in range(11_900, 12_000)]


def test_it_is_there_again_and_namespaces_are_apart(make: Make, url: str) -> None:
    one, other = make("text", "integer"), make("text", "integer")
    one.append([Interaction("u", 1)])
    other.put_items([(1, {})])
    assert (one.last_item_change(), other.last_interaction()) == (0, 0)
    assert one.identity != other.identity
    prefix = one.name.partition("prefix ")[2].rstrip(")")
    with RedisStore.open(url, prefix=prefix, item_kind="integer", user_kind="text") as again:
        assert again.identity == one.identity
        assert [tuple(entry) for entry in again.interactions()] == [(1, "u", 1, None)]
        assert again.append([Interaction("u", 2)]) == 2
    assert one.last_interaction() == 2


def test_what_came_first_without_a_time_stays_before_the_earliest_one(make: Make) -> None:
    store = make("text", "text")
    store.append([Interaction("u", "a"), Interaction("u", "b", -5.0), Interaction("u", "c"), Interaction("u", "d", -6.0)])
    assert [entry.item for entry in store.histories(["u"])[0]] == ["a", "d", "b", "c"]
