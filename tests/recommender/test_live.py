"""A recommender over a log of items and a log of interactions, which others write too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from tests.recommender.conftest import World, world_of

from twotower.errors import ConfigError, DataError, StoreError, TwotowerError, UnknownIdError
from twotower.recommender import Answer, LiveRecommender, Moment, Recommender, Request
from twotower.store import Interaction, MemoryStore
from twotower.types import Id

NOON = 1_700_000_000.0


@pytest.fixture(scope="module")
def world() -> World:
    return world_of()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(item_kind="text", user_kind="text")


def live_of(world: World, store: MemoryStore, **options: Any) -> LiveRecommender:
    return LiveRecommender(world.recommender, store, store, **({"now": lambda: NOON} | options))


def listed(moment: Moment) -> list[list[Id]]:
    """Ids of every request."""
    assert not [answer for answer in moment.answers if isinstance(answer, TwotowerError)]
    return [moment.recommender.items.ids(answer.rows) for answer in moment.answers if isinstance(answer, Answer)]


def ask(live: LiveRecommender, *requests: Request) -> list[list[Id]]:
    return listed(live.answer(requests))


EVERYTHING = Request("user-03", k=100, exclude_seen=False)


def expected(recommender: Recommender, user: str | None, history: Sequence[Any], **wishes: Any) -> list[Id]:
    found: list[Id] = recommender.recommend([user], histories=[list(history)], k=100, **wishes).frame["item"].to_list()
    return found


def test_without_changes_it_is_the_recommender(world: World, store: MemoryStore) -> None:
    live = live_of(world, store)
    assert live.recommender is world.recommender
    assert live.follow() is world.recommender
    users = world.users["user"].to_list()
    frame = world.recommender.recommend(users, k=5).frame
    found = ask(live, *(Request(user, k=5) for user in users))
    assert found == [frame.filter(pl.col("query") == query)["item"].to_list() for query in range(len(users))]
    assert live.history("user-03") == world.recommender.history("user-03")
    assert live.history("nobody") == []
    assert store.last_item_change() == store.last_interaction() == 0


def test_what_one_writes_the_other_answers_with(world: World, store: MemoryStore) -> None:
    one, other = live_of(world, store), live_of(world, store)
    held = other.answer([EVERYTHING])
    put = one.put_items({"New": {"year": 1999, "query": "x"}, "Item 05": {"year": 1960}})
    assert put.items.require(["New"], "items").tolist() == [30]
    assert one.remove_items(["Item 07"]).items.num_available == 30
    changed = world.recommender.with_items({"New": {"year": 1999, "query": "x"}, "Item 05": {"year": 1960}}, ["Item 07"])
    for live in (other, one, live_of(world, store)):
        moment = live.answer([EVERYTHING])
        assert listed(moment) == [changed.recommend(["user-03"], k=100, exclude_seen=False).frame["item"].to_list()]
        assert len(listed(moment)[0]) == 30
        assert moment.recommender is live.recommender
        assert moment.recommender.items.frame(moment.recommender.items.rows(["Item 05"]).numpy())["year"].to_list() == [1960]
    assert "New" not in listed(held)[0]  # of the moment in which it was asked
    other.remove_items(["New"])
    other.put_items({"Item 07": {"year": 2001}})
    assert "New" not in ask(one, EVERYTHING)[0]
    assert "Item 07" in ask(one, EVERYTHING)[0]
    with pytest.raises(UnknownIdError, match="the item 'New' was removed"):
        one.remove_items(["New"])
    assert one.follow() is one.follow()


def test_of_many_changes_the_last_one_counts(world: World, store: MemoryStore) -> None:
    live = live_of(world, store)
    for year in (1950, 1960, 1970):
        store.put_items([("New", {"year": year}), ("Gone", {"year": year})])
    store.remove_items(["Gone"])
    store.put_items([("Item 01", {"year": 1999})])
    store.remove_items(["Item 01"])
    store.remove_items(["Item 02"])
    store.put_items([("Item 02", {"year": 1998})])
    items = live.follow().items
    assert items.frame(items.rows(["New", "Item 02"]).numpy())["year"].to_list() == [1970, 1998]
    found = ask(live, EVERYTHING)[0]
    assert {"New", "Item 02"} <= set(found)
    assert not {"Gone", "Item 01"} & set(found)
    store.compact_items()
    assert ask(live_of(world, store), EVERYTHING) == [found]


def test_what_cannot_be_written_changes_nothing(world: World, store: MemoryStore) -> None:
    live = live_of(world, store)
    put: list[tuple[Any, type[Exception], str]] = [
        ({"New": {"yaer": 1}}, ConfigError, "did you mean 'year'"),
        ({"New": {"year": "old"}}, DataError, "column 'year' must hold Int64; came 'old'"),
        ({"New": {}}, DataError, "year"),  # may not be missing
        ({7: {"year": 1}}, DataError, "item ids are text; came 7"),
        ({"Good": {"year": 1}, "New": 5}, DataError, "features must be a mapping"),
        ([("New", {})], DataError, "must be a mapping"),
    ]
    for items, error, words in put:
        with pytest.raises(error, match=words):
            live.put_items(items)
    for ids, kind in (
        (["Item 01", "nothing"], UnknownIdError),
        ("Item 01", DataError),
        ([["Item 01"]], DataError),
        (5, DataError),
    ):
        with pytest.raises(kind):
            live.remove_items(ids)  # type: ignore[arg-type]
    interactions: list[tuple[Any, type[Exception]]] = [
        ([Interaction("a", "nothing")], UnknownIdError),
        ([Interaction("a", "Item 01"), Interaction(7, "Item 01")], DataError),
        ([Interaction("a", "Item 01", float("nan"))], DataError),
        ([Interaction("a", "Item 01", "noon")], DataError),  # type: ignore[arg-type]
        ([Interaction("a", ["Item 01"])], DataError),  # type: ignore[arg-type]
    ]
    for entries, fault in interactions:
        with pytest.raises(fault):
            live.append(entries)
    assert store.last_item_change() == store.last_interaction() == 0
    assert live.recommender is world.recommender


@pytest.mark.parametrize("features", [{"yaer": 1}, {"year": "old"}, {}, {"year": 1.5}])
def test_an_item_of_the_log_that_does_not_fit_the_model(world: World, store: MemoryStore, features: dict[str, Any]) -> None:
    """Another model's process wrote it, say: answers go on without it, and it can be mended through the same object."""
    live = live_of(world, store)
    store.put_items([("Good", {"year": 1990})])
    assert "Good" in ask(live, EVERYTHING)[0]
    store.put_items([("Odd", features)])
    for _ in range(2):
        assert "Good" in ask(live, EVERYTHING)[0]
        assert "Odd" not in ask(live, EVERYTHING)[0]
        assert live.latest() is live.recommender
        with pytest.raises(
            DataError, match=r"the log of items does not fit the model: (?s:.*); remove the item, or put it anew"
        ):
            live.follow()
    with pytest.raises(DataError, match="the log of items does not fit the model"):
        live_of(world, store)
    live.remove_items(["Odd"])
    assert "Good" in ask(live, EVERYTHING)[0]
    store.put_items([("Odd", features)])
    live.put_items({"Odd": {"year": 1990}})
    assert "Odd" in ask(live, EVERYTHING)[0]


def test_interactions_follow_the_stored_history(world: World, store: MemoryStore) -> None:
    live, other = live_of(world, store), live_of(world, store)
    stored = world.recommender.history("user-03")
    [last] = world.recommender.users.last_times(["user-03"])
    assert last is not None
    live.append(
        [
            Interaction("user-03", "Item 01", last),  # the model was trained with it
            Interaction("user-03", "Item 02", last - 5),
            Interaction("user-03", "Item 04", last + 9),
            Interaction("user-03", "Item 03", last + 5),
            Interaction("user-03", "Item 05"),
            Interaction("nobody", "Item 06", 3.0),
        ]
    )
    assert store.interactions()[4].time == NOON
    history = [*stored, "Item 03", "Item 04", "Item 05"]
    for each in (other, live):
        assert each.history("user-03") == history
        assert each.history("nobody") == ["Item 06"]
        assert ask(each, EVERYTHING, Request("nobody", k=100), Request("user-04", k=100)) == [
            expected(world.recommender, "user-03", history, exclude_seen=False),
            expected(world.recommender, "nobody", ["Item 06"]),
            world.recommender.recommend(["user-04"], k=100).frame["item"].to_list(),
        ]
        assert ask(each, Request("user-03", k=100)) == [expected(world.recommender, "user-03", history)]
        # a history that is given stands in for all of it, but what was met since is left out all the same
        given = ask(each, Request("user-03", k=100, history=["Item 09"]))[0]
        assert given == expected(world.recommender, "user-03", ["Item 09"], exclude=["Item 03", "Item 04", "Item 05"])


def test_a_time_of_its_own_is_kept_and_none_is_now(world: World, store: MemoryStore) -> None:
    clock = iter([100.0, 200.5])
    live = live_of(world, store, now=lambda: next(clock))
    live.append([Interaction("ann", "Item 01"), Interaction("ann", "Item 02", 7), Interaction("bob", "Item 01")])
    live.append([Interaction("ann", "Item 03"), Interaction("ann", "Item 04", 0.0)])
    assert [entry[1:] for entry in store.interactions()] == [
        ("ann", "Item 01", 100.0),
        ("ann", "Item 02", 7.0),
        ("bob", "Item 01", 100.0),
        ("ann", "Item 03", 200.5),
        ("ann", "Item 04", 0.0),
    ]
    assert live.history("ann") == ["Item 04", "Item 02", "Item 01", "Item 03"]


def test_only_the_latest_interactions_of_a_user_are_read(world: World, store: MemoryStore) -> None:
    live = live_of(world, store, latest=3)
    live.append([Interaction("ann", f"Item {number:02}", float(number)) for number in range(10)])
    assert live.history("ann") == ["Item 07", "Item 08", "Item 09"]
    assert ask(live, Request("ann", k=100)) == [expected(world.recommender, "ann", ["Item 07", "Item 08", "Item 09"])]
    assert live.history("user-03") == world.recommender.history("user-03")


def test_interactions_with_items_that_changed(world: World, store: MemoryStore) -> None:
    live = live_of(world, store)
    live.put_items({"New": {"year": 1990}})
    live.append([Interaction("ann", "New", 1.0), Interaction("ann", "Item 02", 2.0)])
    live.remove_items(["Item 02"])
    live.append([Interaction("ann", "Item 02", 3.0)])  # what was removed may have been met
    found = ask(live, Request("ann", k=100))[0]
    assert not {"New", "Item 02"} & set(found)
    assert found == expected(live.recommender, "ann", ["New", "Item 02", "Item 02"])
    # items that no catalogue has, of another model say, are passed over
    store.append([Interaction("bob", "gone", 1.0), Interaction("bob", "Item 03", 2.0), Interaction("eve", "gone", 1.0)])
    assert ask(live, Request("bob", k=100)) == [expected(live.recommender, "bob", ["Item 03"])]
    assert live.history("bob") == ["gone", "Item 03"]


def test_nobody_is_disturbed_by_an_odd_user(world: World, store: MemoryStore) -> None:
    live = live_of(world, store)
    live.append([Interaction("ann", "Item 01", 1.0)])
    odd: list[Any] = [7, True, 1.5, ["ann"], {}, "\ud800", "", "nobody", None, b"ann"]
    requests = [Request("ann", k=100), *(Request(user) for user in odd), Request("user-03", k=100)]
    moment = live.answer(requests)
    good = [answer for answer in moment.answers if isinstance(answer, Answer)]
    assert [moment.recommender.items.ids(answer.rows) for answer in good] == [
        expected(world.recommender, "ann", ["Item 01"]),
        world.recommender.recommend(["user-03"], k=100).frame["item"].to_list(),
    ]
    assert all(isinstance(answer, DataError) for answer in moment.answers[1:-1])
    assert live.history("\ud800") == []
    assert live.history(7) == []


def test_ids_of_integers() -> None:
    world, store = world_of(integers=True), MemoryStore(item_kind="integer", user_kind="integer")
    live = live_of(world, store)
    live.append([Interaction(103, 502, NOON), Interaction(7, 501, 1.0)])
    odd: list[Any] = [2**70, -(2**70), True, "103", 7.0]
    moment = live.answer([Request(103, k=100), *(Request(user) for user in odd), Request(7, k=100)])
    assert [type(answer) is Answer for answer in moment.answers] == [True, *[False] * 5, True]
    assert isinstance(moment.answers[-1], Answer)
    assert world.recommender.items.ids(moment.answers[-1].rows) == expected(world.recommender, None, [501])
    assert live.history(103) == [*world.recommender.history(103), 502]


class Broken(MemoryStore):
    """Whose parts fail when they are told to."""

    failing: str | None = None

    def _may_fail(self, name: str) -> None:
        if self.failing == name:
            raise StoreError(f"{name} can't be done: the disk is gone")

    def item_changes(self, after: int = 0, *, limit: int | None = None) -> Any:
        self._may_fail("item_changes")
        return super().item_changes(after, limit=limit)

    def last_item_change(self) -> int:
        self._may_fail("last_item_change")
        return super().last_item_change()

    def histories(self, users: Any, *, latest: int | None = None, after: int = 0) -> Any:
        self._may_fail("histories")
        return super().histories(users, latest=latest, after=after)

    def last_interaction(self) -> int:
        self._may_fail("last_interaction")
        return super().last_interaction()

    def put_items(self, items: Any) -> int:
        self._may_fail("put_items")
        return super().put_items(items)

    def append(self, interactions: Any) -> int:
        self._may_fail("append")
        return super().append(interactions)


@pytest.mark.parametrize("name", ["last_item_change", "item_changes", "last_interaction", "histories"])
def test_a_log_that_can_not_be_read_is_an_error_and_not_an_old_answer(world: World, name: str) -> None:
    store = Broken(item_kind="text", user_kind="text")
    live = live_of(world, store)
    live.append([Interaction("user-03", "Item 01", NOON)])
    store.put_items([("New", {"year": 1990})])
    store.failing = name
    for _ in range(2):
        with pytest.raises(StoreError, match="the disk is gone"):
            live.answer([EVERYTHING])
    store.failing = None
    assert "New" in ask(live, EVERYTHING)[0]
    assert live.history("user-03")[-1] == "Item 01"


def test_a_log_that_can_not_be_written(world: World) -> None:
    store = Broken(item_kind="text", user_kind="text")
    live = live_of(world, store)
    for name, write in (
        ("put_items", lambda: live.put_items({"New": {"year": 1990}})),
        ("append", lambda: live.append([Interaction("ann", "Item 01")])),
    ):
        store.failing = name
        with pytest.raises(StoreError, match="the disk is gone"):
            write()
        store.failing = None
        assert "New" not in ask(live, EVERYTHING)[0]
        assert live.history("ann") == []
