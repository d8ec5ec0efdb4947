"""Requests that are answered together have the answers that each has alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.recommender.conftest import World, world_of

from twotower.errors import ConfigError, DataError, TwotowerError, UnknownIdError
from twotower.recommender import Answer, Recommender, Request, answer_all

GOOD = Request("user-03", k=4)


def alone(recommender: Recommender, request: Request) -> tuple[list[Any], list[float], dict[str, object]] | type[Exception]:
    """One request through `Recommender.recommend`: ids, scores and what was assumed; or the kind of error."""
    try:
        found = recommender.recommend(
            [request.user],
            features=None if request.features is None else [request.features],
            histories=[request.history],
            k=request.k,
            exclude_seen=request.exclude_seen,
            exclude=request.exclude,
            only=request.only,
            where=request.where,
        )
    except TwotowerError as error:
        return type(error)
    return found.frame["item"].to_list(), found.frame["score"].to_list(), dict(found.assumed)


def drawn(rng: np.random.Generator, world: World) -> Request:
    """A request of any kind; one in eight has a fault."""

    def pick(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    items = world.items["item"].to_list()

    def some(most: int) -> list[Any]:
        return [items[place] for place in rng.integers(0, len(items), int(rng.integers(0, most)))]

    users = world.users["user"].to_list()
    odd_user: Any = pick("nobody", None, 7)
    wishes: dict[str, Any] = {
        "user": pick(*users, *users, odd_user, odd_user, odd_user),
        "features": pick(
            None, None, {}, {"age": 30}, {"age": 30.5}, {"age": None, "city": "Rome"}, {"city": "Oslo", "device": "tv"}
        ),
        "history": pick(None, None, [], some(6), [*some(4), "gone"]),
        "k": pick(1, 3, 10, 100),
        "exclude_seen": pick(True, False),
        "exclude": pick((), (), some(9)),
        "only": pick(None, None, some(12), ["Item 01", "Item 02", "Item 03"], ("Item 01", "Item 02", "Item 03")),
        "where": pick({}, {}, {"year": {"min": 1980}}, {"year": {"max": 1990}}, {"query": {"not": ["q1", "q2"]}}),
    }
    if rng.random() < 0.12:
        faults: list[tuple[str, Any]] = [
            ("k", 0), ("features", {"age": "old"}), ("features", {"agge": 3}), ("history", [7]), ("exclude", ["gone"]),
            ("only", ["gone"]), ("where", {"yaer": 1}), ("where", {"year": "old"}), ("only", [["Item 01"]]), ("where", 5),
        ]  # fmt: skip
        name, fault = pick(*faults)
        wishes[name] = fault
    return Request(**wishes)


@pytest.mark.parametrize("positives", [None, "rating >= 4"])
def test_together_as_one_by_one(positives: str | None) -> None:
    world = world_of(positives=positives)
    recommender = world.recommender.with_items({"New": {"year": 1999, "query": "q1"}}, ["Item 07"])
    rng = np.random.default_rng(4)
    good = faults = 0
    for _ in range(25):
        requests = [drawn(rng, world) for _ in range(int(rng.integers(1, 24)))]
        answers = answer_all(recommender, requests)
        assert len(answers) == len(requests)
        for request, answer in zip(requests, answers, strict=True):
            expected = alone(recommender, request)
            if isinstance(answer, Answer):
                assert not isinstance(expected, type), (request, expected)
                assert recommender.items.ids(answer.rows) == expected[0], request
                assert answer.scores.tolist() == pytest.approx(expected[1], abs=1e-6)
                assert dict(answer.assumed) == expected[2], request
                assert [answer.rows.dtype, answer.scores.dtype] == [np.dtype("int64"), np.dtype("float32")]
                good += 1
            else:
                assert type(answer) is expected, (request, answer)
                faults += 1
    assert good > 100
    assert faults > 20


def test_requests_of_the_same_kind_are_encoded_and_searched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = world_of().recommender
    sizes: list[int] = []
    encode = type(recommender.requests).encode

    def watched(self: Any, users: Any, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(users))
        return encode(self, users, *arguments, **options)

    monkeypatch.setattr(type(recommender.requests), "encode", watched)
    same = [Request("user-01"), Request("user-02", k=3), Request("user-03", exclude=["Item 01"]), Request(history=["Item 01"])]
    others = [
        Request("user-01", features={"age": 3}),
        Request("user-02", features={"age": 4}),
        Request("user-01", where={"year": 1990}),
        Request("user-02", where={"year": 1990}),
        Request("user-01", only=["Item 01"]),
        Request("user-01", features={}),
    ]
    answer_all(recommender, [*same, *others])
    assert sorted(sizes) == [1, 1, 2, 2, 4]
    assert answer_all(recommender, []) == []


ODD: dict[str, tuple[dict[str, Any], type[TwotowerError]]] = {
    "no k": ({"k": 0}, ConfigError),
    "half a k": ({"k": 2.5}, ConfigError),
    "k as text": ({"k": "3"}, ConfigError),
    "k as a list": ({"k": [3]}, ConfigError),
    "an unknown user": ({"user": "nobody"}, UnknownIdError),
    "a user that is a list": ({"user": ["user-03"]}, DataError),
    "a user that is a mapping": ({"user": {}}, DataError),
    "a user of the other type": ({"user": 7}, UnknownIdError),
    "a user that is none at all": ({"user": 1.5}, UnknownIdError),
    "a user of half a character": ({"user": "\ud800"}, UnknownIdError),
    "an unknown feature": ({"features": {"agge": 3}}, ConfigError),
    "the id as a feature": ({"features": {"user": "user-03"}}, ConfigError),
    "a feature of a wrong type": ({"features": {"age": "old"}}, DataError),
    "a feature that is a list": ({"features": {"age": [3]}}, DataError),
    "a feature that is a mapping": ({"features": {"age": {"a": 1}}}, DataError),
    "a feature that is an object": ({"features": {"age": object()}}, DataError),
    "a feature of half a character": ({"features": {"city": "\ud800"}}, DataError),
    "a feature beyond all integers": ({"features": {"age": 10**400}}, DataError),
    "a feature without an end": ({"features": {"age": float("inf")}}, DataError),
    "a name that is a number": ({"features": {5: 3}}, ConfigError),
    "names of several types": ({"features": {5: 3, "age": 3}}, ConfigError),
    "features that are a list": ({"features": [3]}, DataError),
    "features that are text": ({"features": "age"}, DataError),
    "features that are a number": ({"features": 5}, DataError),
    "a history that is text": ({"history": "Item 01"}, DataError),
    "a history that is a number": ({"history": 5}, DataError),
    "a history of numbers": ({"history": [7]}, DataError),
    "a history of lists": ({"history": [["Item 01"]]}, DataError),
    "a history of nothing": ({"history": [None]}, DataError),
    "a history that is an object": ({"history": object()}, DataError),
    "an unknown item to leave out": ({"exclude": ["gone"]}, UnknownIdError),
    "one item to leave out": ({"exclude": "Item 01"}, DataError),
    "a number to leave out": ({"exclude": 5}, DataError),
    "nothing to leave out": ({"exclude": None}, DataError),
    "lists to leave out": ({"exclude": [["Item 01"]]}, DataError),
    "one item to choose from": ({"only": "Item 01"}, DataError),
    "a number to choose from": ({"only": 5}, DataError),
    "lists to choose from": ({"only": [["Item 01"]]}, DataError),
    "mappings to choose from": ({"only": [{}]}, DataError),
    "an unknown item to choose from": ({"only": ["gone"]}, UnknownIdError),
    "an object to choose from": ({"only": object()}, DataError),
    "a wish that is no boolean": ({"exclude_seen": None}, ConfigError),
    "another wish that is no boolean": ({"exclude_seen": "no"}, ConfigError),
    "conditions that are a number": ({"where": 5}, ConfigError),
    "conditions that are a list": ({"where": ["year"]}, ConfigError),
    "conditions that are nothing": ({"where": None}, ConfigError),
    "an unknown column": ({"where": {"yaer": 1}}, ConfigError),
    "a condition of a wrong type": ({"where": {"year": "old"}}, DataError),
    "a condition that is an object": ({"where": {"year": object()}}, ConfigError),
    "conditions of several types": ({"where": {"year": 1990, 5: 3}}, ConfigError),
}


@pytest.mark.parametrize("name", list(ODD))
def test_a_faulty_request_has_its_error_and_the_others_their_items(name: str) -> None:
    recommender = world_of().recommender
    wishes, kind = ODD[name]
    faulty = Request(**({"user": "user-04"} | wishes))
    first, error, described, last = answer_all(
        recommender, [GOOD, faulty, Request(features={"age": 30, "city": "Rome", "at": 1_600_500_000}, k=2), GOOD]
    )
    expected = alone(recommender, GOOD)
    assert not isinstance(expected, type)
    for answer in (first, last):
        assert isinstance(answer, Answer)
        assert recommender.items.ids(answer.rows) == expected[0]
    assert isinstance(described, Answer)
    assert len(described.rows) == 2
    assert isinstance(error, TwotowerError), error
    assert isinstance(error, kind), error
    assert str(error)


def test_what_is_equal_in_python_is_not_the_same_item() -> None:
    world = world_of(integers=True)
    one, other, third = answer_all(
        world.recommender,
        [Request(103, exclude_seen=False, only=only) for only in ([501], [501.0], ["501"])],  # type: ignore[arg-type]
    )
    assert isinstance(one, Answer)
    assert world.recommender.items.ids(one.rows) == [501]
    assert isinstance(other, UnknownIdError)
    assert isinstance(third, UnknownIdError)
    users: list[Any] = [101, 101.0, True]
    for user in users:
        answer = answer_all(world.recommender, [Request(user)])[0]
        assert isinstance(answer, Answer) is (user == 101 and type(user) is int)


def test_users_that_no_table_can_hold_are_unknown() -> None:
    for integers, user in ((False, "\ud800"), (True, 2**70), (True, "101"), (True, 101.0), (False, 5)):
        recommender = world_of(integers=integers).recommender
        described = {"age": 30, "city": "Rome", "at": 1_600_500_000}
        odd, nobody = answer_all(recommender, [Request(user, described), Request(None, described)])  # type: ignore[arg-type]
        assert isinstance(odd, Answer)
        assert isinstance(nobody, Answer)
        assert odd.rows.tolist() == nobody.rows.tolist()


def test_more_than_there_are() -> None:
    recommender = world_of().recommender
    for k in (31, 10**9, 2**63 - 1):
        answer = answer_all(recommender, [Request("user-03", k=k, exclude_seen=False)])[0]
        assert isinstance(answer, Answer)
        assert len(answer.rows) == len(answer.scores) == 30
        assert recommender.recommend(["user-03"], k=k, exclude_seen=False).frame.height == 30
        assert recommender.similar_items(["Item 01"], k=k).frame.height == 29


def test_what_came_later_follows_the_stored_history() -> None:
    recommender = world_of().recommender
    requests = [Request("user-03", k=30), Request("nobody", k=30), Request("user-04", k=30, history=["Item 02"])]
    later: list[list[Any]] = [["Item 05", "unknown item"], ["Item 06"], ["Item 07"]]
    kept = [Request("user-03", k=30, where={"year": {"min": 0}}), *requests]  # two groups
    [other, *found] = answer_all(recommender, kept, later=[["Item 08"], *later])
    assert isinstance(other, Answer)
    assert not {"Item 08"} & set(recommender.items.ids(other.rows))
    assert "Item 05" in recommender.items.ids(other.rows) or "Item 05" in recommender.history("user-03")
    stored = [recommender.history("user-03"), recommender.history("user-04")]
    expected = [
        recommender.recommend(["user-03"], histories=[[*stored[0], "Item 05"]], k=30),
        recommender.recommend(["nobody"], histories=[["Item 06"]], k=30),
        recommender.recommend(["user-04"], histories=[["Item 02"]], exclude=["Item 07"], k=30),
    ]
    for answer, one in zip(found, expected, strict=True):
        assert isinstance(answer, Answer)
        assert recommender.items.ids(answer.rows) == one.frame["item"].to_list()
        assert answer.scores.tolist() == pytest.approx(one.frame["score"].to_list(), abs=1e-6)
    assert isinstance(answer_all(recommender, [Request("nobody")], later=[[]])[0], UnknownIdError)
