"""Requests of every kind, and exactly the items that each may be given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.errors import ConfigError, DataError, UnknownIdError

NEW = {"age": 30, "city": "Rome", "at": 1_600_500_000, "device": "tv"}


def lists(answer: Any) -> list[list[object]]:
    """Item ids per request."""
    frame = answer.frame
    return [frame.filter(pl.col("query") == query)["item"].to_list() for query in range(int(frame["query"].max()) + 1)]


def scores(answer: Any) -> np.ndarray:
    return np.asarray(answer.frame["score"].to_numpy())


def test_a_known_user(world: Any) -> None:
    answer = world.recommender.recommend(["user-03"], k=4)
    frame = answer.frame
    assert frame.columns == ["query", "rank", "item", "score", "year", "item_query", "item_rank", "item_score"]
    assert frame["rank"].to_list() == [1, 2, 3, 4]
    assert frame["score"].to_list() == sorted(frame["score"], reverse=True)
    assert set(frame["item"]).isdisjoint(world.recommender.history("user-03"))
    known = world.items.filter(pl.col("item") == frame["item"][0])
    assert frame.row(0, named=True)["year"] == known["year"][0]
    assert frame.row(0, named=True)["item_rank"] == known["rank"][0]


def test_the_history_of_a_user_is_that_of_train_in_its_order(world: Any) -> None:
    tables = world.fitted.phase.tables
    train = tables.interactions.frame[tables.split.train]
    assert world.recommender.history("user-03") == train.filter(pl.col("user") == "user-03").sort("at")["item"].to_list()
    assert world.recommender.history("nobody") == []


def test_features_alone_and_a_history_alone(world: Any) -> None:
    recommend = world.recommender.recommend
    unknown = recommend(["nobody"], features=[NEW], k=30)
    assert np.array_equal(scores(unknown), scores(recommend(features=[NEW], k=30)))
    anonymous = recommend(histories=[["Item 03", "Item 05"]], k=30)
    assert len(lists(anonymous)[0]) == 28
    assert set(lists(anonymous)[0]).isdisjoint({"Item 03", "Item 05"})
    assert not np.array_equal(scores(anonymous), scores(recommend(histories=[["Item 04", "Item 05"]], k=30)))
    for changed in ({"age": 70}, {"city": "Oslo"}, {"at": 1_600_100_000}, {"device": "desk"}):
        assert not np.array_equal(scores(recommend(features=[NEW | changed], k=30)), scores(unknown)), changed


def test_a_mixed_batch_is_its_requests_one_by_one(world: Any) -> None:
    recommend = world.recommender.recommend
    users = ["user-03", None, "nobody", "user-04"]
    histories = [None, ["Item 01"], ["Item 02", "Item 09"], ["Item 07"]]
    features: list[dict[str, object]] = [{"at": 1_600_500_000}, dict(NEW), {"age": 20}, {"device": "tv"}]
    together = recommend(users, histories=histories, features=features, k=5)
    for query in range(4):
        alone = recommend([users[query]], histories=[histories[query]], features=[features[query]], k=5)
        assert lists(alone)[0] == lists(together)[query]
        assert scores(alone) == pytest.approx(scores(together)[5 * query : 5 * query + 5], abs=1e-6)


def test_features_win_over_what_is_stored(world: Any) -> None:
    recommend = world.recommender.recommend
    stored = world.users.filter(pl.col("user") == "user-03").row(0, named=True)
    plain = scores(recommend(["user-03"], k=30))
    same = recommend(["user-03"], features=[{"age": stored["age"], "city": stored["city"]}], k=30)
    assert np.array_equal(scores(same), plain)
    assert not np.array_equal(scores(recommend(["user-03"], features=[{"age": stored["age"] + 20}], k=30)), plain)
    nothing = recommend(["user-03"], features=[{"age": None}], k=30)
    assert np.array_equal(scores(nothing), plain)


def test_a_history_stands_in_for_the_stored_one_and_both_are_left_out(world: Any) -> None:
    recommend = world.recommender.recommend
    stored = world.recommender.history("user-03")
    fresh = next(item for item in world.items["item"] if item not in stored)
    plain, other = recommend(["user-03"], k=30), recommend(["user-03"], histories=[[fresh]], k=30)
    assert set(lists(other)[0]) == set(world.items["item"]) - set(stored) - {fresh}
    assert not np.array_equal(scores(plain)[:5], scores(other)[:5])
    assert np.array_equal(scores(recommend(["user-03"], histories=[stored], k=30)), scores(plain))
    assert np.array_equal(scores(recommend(["user-03"], histories=[None], k=30)), scores(plain))
    empty = recommend(["user-03"], histories=[[]], k=30)
    assert set(lists(empty)[0]) == set(lists(plain)[0])
    assert not np.array_equal(scores(empty), scores(plain))


def test_unknown_items_of_a_history_are_passed_over(world: Any) -> None:
    recommend = world.recommender.recommend
    clean = recommend(histories=[["Item 01"], ["Item 02"]], k=30)
    mixed = recommend(histories=[["gone", "Item 01", "Item 99"], ["Item 02", "gone"]], k=30)
    assert mixed.frame.equals(clean.frame)


def test_exclude_seen_is_exact(world: Any) -> None:
    users = world.users["user"].to_list()
    with_seen = lists(world.recommender.recommend(users, k=1000, exclude_seen=False))
    without = lists(world.recommender.recommend(users, k=1000))
    for user, everything, unseen in zip(users, with_seen, without, strict=True):
        history = set(world.recommender.history(user))
        assert history
        assert len(everything) == 30
        assert unseen == [item for item in everything if item not in history]


def test_always_k_when_k_exist(world: Any) -> None:
    users = world.users["user"].to_list()
    for k in (1, 7, 12):
        assert {len(entry) for entry in lists(world.recommender.recommend(users, k=k))} == {k}


def test_exclude_and_only_are_exact(world: Any) -> None:
    recommend = world.recommender.recommend
    everything = lists(recommend(["user-03", "user-04"], k=30))
    some = ["Item 02", "Item 11", "Item 20", "Item 02"]
    left = lists(recommend(["user-03", "user-04"], k=30, exclude=some))
    assert left == [[item for item in entry if item not in some] for entry in everything]
    chosen = lists(recommend(["user-03", "user-04"], k=30, only=some, exclude_seen=False))
    full = lists(recommend(["user-03", "user-04"], k=30, exclude_seen=False))
    assert chosen == [[item for item in entry if item in some] for entry in full]
    both = recommend(["user-03"], k=30, only=some, exclude=["Item 11"], exclude_seen=False)
    assert set(lists(both)[0]) == {"Item 02", "Item 20"}
    assert recommend(["user-03"], only=[]).frame.height == 0


def test_nothing_that_may_be_recommended_is_no_rows_and_the_other_queries_keep_theirs(world: Any) -> None:
    frame = world.recommender.recommend(histories=[world.items["item"].to_list(), ["Item 01"]], k=3).frame
    assert frame["query"].to_list() == [1, 1, 1]


def test_no_requests(world: Any) -> None:
    full = world.recommender.recommend(["user-03"]).frame
    for empty in (
        world.recommender.recommend([]),
        world.recommender.recommend(features=[]),
        world.recommender.similar_items([]),
    ):
        assert empty.frame.schema == full.schema
        assert empty.frame.height == 0
    assert world.recommender.recommend(histories=[]).frame.height == 0


def test_what_was_assumed_is_said(world: Any) -> None:
    recommend = world.recommender.recommend
    phase = world.fitted.phase
    train = phase.tables.interactions.frame[phase.tables.split.train]
    end = train["at"].max()
    assert dict(recommend(["user-03"]).assumed) == {"at": end}
    trained = world.users.filter(pl.col("user").is_in(train["user"].to_list()))
    ages: list[int] = sorted(int(age) for age in trained["age"])
    cities = trained["city"].to_list()
    found = dict(recommend(["user-03", None], histories=[None, ["Item 01"]]).assumed)
    assert found == {"at": end, "age": ages[len(ages) // 2], "city": max(("Oslo", "Rome"), key=cities.count)}
    explicit = recommend(["user-03"], features=[{"at": end}], k=30)
    assert dict(explicit.assumed) == {}
    assert np.array_equal(scores(explicit), scores(recommend(["user-03"], k=30)))


def test_similar_items_are_those_of_largest_cosine(world: Any) -> None:
    vectors_ND = world.recommender.item_vectors_ND.double().numpy()
    unit_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    ids = world.items["item"].to_list()
    answer = world.recommender.similar_items(["Item 04", "Item 00"], k=1000)
    assert dict(answer.assumed) == {}
    for query, item in enumerate(("Item 04", "Item 00")):
        cosine = unit_ND @ unit_ND[ids.index(item)]
        mine = answer.frame.filter(pl.col("query") == query)
        assert mine["item"].to_list() == [ids[row] for row in np.argsort(-cosine) if ids[row] != item]
        assert mine["score"].to_numpy() == pytest.approx(np.sort(np.delete(cosine, ids.index(item)))[::-1], abs=1e-6)
    some = world.recommender.similar_items(["Item 04"], k=5, only=["Item 04", "Item 01", "Item 02"])
    assert set(some.frame["item"]) == {"Item 01", "Item 02"}
    assert len(world.recommender.similar_items(["Item 04"], k=5).frame) == 5


def test_integer_ids(make_world: Callable[..., Any]) -> None:
    world = make_world(integers=True)
    recommender = world.recommender
    answer = recommender.recommend([103], k=3, exclude=[507], only=[507, 501, 502, 503], exclude_seen=False)
    assert answer.frame.schema["item"] == pl.Int64
    assert set(answer.frame["item"]) == {501, 502, 503}
    assert recommender.recommend(np.array([103]), k=2).frame.equals(recommender.recommend([103], k=2).frame)
    history = np.array([501, 9])
    assert recommender.recommend(histories=[history], k=2).frame.equals(recommender.recommend(histories=[[501]], k=2).frame)
    with pytest.raises(UnknownIdError, match=r"no user '103' among 25, whose ids are integers; did you mean 103\?"):
        recommender.recommend(["103"])
    with pytest.raises(UnknownIdError, match=r"only: no item '501' .* integers; did you mean 501\?"):
        recommender.recommend([103], only=["501"])
    with pytest.raises(DataError, match="a history must hold item ids, which are integers; came '501'"):
        recommender.recommend(histories=[["501"]])


def test_an_unknown_user_alone_is_an_error(world: Any) -> None:
    with pytest.raises(
        UnknownIdError,
        match=r"no user 'user-3' among 25, whose ids are text; did you mean '.*'\?; for a new user give features or a history",
    ):
        world.recommender.recommend(["user-03", "user-3"])
    with pytest.raises(UnknownIdError, match="did you mean 'user-03'"):
        world.recommender.recommend(["USER-03"])
    with pytest.raises(UnknownIdError, match="a request came without a user; for a new user give features or a history"):
        world.recommender.recommend([None])
    with pytest.raises(UnknownIdError, match="no user 'nobody'"):
        world.recommender.recommend(["nobody", "nobody"], histories=[["Item 01"], None])


def test_unknown_items_are_errors_with_the_nearest(world: Any) -> None:
    recommender = world.recommender
    with pytest.raises(UnknownIdError, match=r"exclude: no item 'item 04' among 30, .*did you mean 'Item 04'\?"):
        recommender.recommend(["user-03"], exclude=["item 04"])
    with pytest.raises(UnknownIdError, match=r"items: no item 'zzz' among 30, whose ids are text$"):
        recommender.similar_items(["zzz"])


def test_a_single_value_is_not_a_list(world: Any) -> None:
    recommender = world.recommender
    calls: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: recommender.recommend("user-03"), "users"),
        (lambda: recommender.recommend(histories="Item 01"), "histories"),
        (lambda: recommender.recommend(histories=["Item 01"]), "a history"),
        (lambda: recommender.recommend(["user-03"], exclude="Item 01"), "exclude"),
        (lambda: recommender.recommend(["user-03"], only="Item 01"), "only"),
        (lambda: recommender.similar_items("Item 01"), "items"),
    )
    for call, name in calls:
        with pytest.raises(DataError, match=rf"^{name} must be a list of ids; came the single value '(user-03|Item 01)'"):
            call()
    with pytest.raises(DataError, match=r"users must be a list .* write \[7\]"):
        recommender.recommend(7)
    with pytest.raises(DataError, match="features must be a list with one mapping per request"):
        recommender.recommend(features={"age": 3})


def test_other_faults(world: Any) -> None:
    recommend = world.recommender.recommend
    with pytest.raises(ConfigError, match="nothing was asked for"):
        recommend()
    with pytest.raises(DataError, match="one entry per request; came 2 users, 1 histories"):
        recommend(["user-03", "user-04"], histories=[["Item 01"]])
    for k in (0, -1, True, 2.5):
        with pytest.raises(ConfigError, match="k must be an integer of at least 1"):
            recommend(["user-03"], k=k)
        with pytest.raises(ConfigError, match="k must be an integer of at least 1"):
            world.recommender.similar_items(["Item 01"], k=k)
    with pytest.raises(DataError, match="an id must be text or an integer"):
        recommend([["user-03"]])
    with pytest.raises(ConfigError, match="features: the query does not read 'aeg'; did you mean 'age'"):
        recommend(features=[{"aeg": 3}])
    with pytest.raises(ConfigError, match="features: 'user' is the user's id; give it in users"):
        recommend(features=[{"user": "user-03"}])


def test_answers_do_not_depend_on_earlier_ones(world: Any) -> None:
    first = world.recommender.recommend(["user-03"], k=5)
    world.recommender.recommend(["user-04"], k=5, exclude=["Item 01"], features=[NEW])
    assert world.recommender.recommend(["user-03"], k=5).frame.equals(first.frame)
    assert not world.recommender.model.training
    assert not torch.is_inference_mode_enabled()
