"""Recommendations over HTTP are those of the library, and each query has its own answer or fault."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from tests.recommender.conftest import World
from twotower.serving.config import Limits


def ask(client: TestClient, *queries: dict[str, Any], **wishes: Any) -> Any:
    return client.post("/v1/recommend", json={"queries": list(queries), **wishes})


def test_known_users_get_what_the_library_recommends(client: TestClient, world: World) -> None:
    users = world.users["user"].head(7).to_list()
    answer = ask(client, *({"user": user} for user in users), k=5, columns=["year", "score"]).json()
    frame = world.recommender.recommend(users, k=5).frame
    for number, result in enumerate(answer["results"]):
        expected = frame.filter(pl.col("query") == number)
        assert [item["id"] for item in result["items"]] == expected["item"].to_list()
        assert [item["score"] for item in result["items"]] == expected["score"].to_list()
        assert [item["columns"] for item in result["items"]] == expected.select("year", score="item_score").to_dicts()
        assert result["assumed"] == {"at": world.recommender.defaults.values["at"]}
    assert answer["version"].startswith("bundle-")


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ({"features": {"age": 30, "city": "Oslo"}}, {"features": [{"age": 30, "city": "Oslo"}]}),
        ({"history": ["Item 03", "Item 07", "no such item"]}, {"histories": [["Item 03", "Item 07"]]}),
        ({"user": "user-01", "features": {"device": "tv"}}, {"users": ["user-01"], "features": [{"device": "tv"}]}),
        ({"user": "user-01", "history": []}, {"users": ["user-01"], "histories": [[]]}),
        ({"user": "nobody", "features": {}}, {"users": ["nobody"], "features": [{}]}),
    ],
)
def test_users_can_be_described(client: TestClient, world: World, query: dict[str, Any], arguments: Any) -> None:
    found = ask(client, query, k=4).json()["results"][0]["items"]
    expected = world.recommender.recommend(**arguments, k=4).frame
    assert [item["id"] for item in found] == expected["item"].to_list()


def test_wishes(client: TestClient, world: World) -> None:
    everything = [
        item["id"] for item in ask(client, {"user": "user-02"}, k=1000, exclude_seen=False).json()["results"][0]["items"]
    ]
    assert sorted(everything) == sorted(world.items["item"])
    unseen = [item["id"] for item in ask(client, {"user": "user-02"}, k=1000).json()["results"][0]["items"]]
    assert set(everything) - set(unseen) == set(world.recommender.history("user-02"))
    few = ask(client, {"user": "user-02"}, only=["Item 01", "Item 02"], exclude=["Item 02"], exclude_seen=False).json()
    assert [item["id"] for item in few["results"][0]["items"]] == ["Item 01"]
    where = {"year": {"min": 1980, "max": 1999}, "query": {"not": "q3"}}
    met = ask(client, {"user": "user-02"}, k=1000, where=where, exclude_seen=False, columns=["year"]).json()["results"][0][
        "items"
    ]
    years = {row["item"]: row["year"] for row in world.items.filter(pl.col("query") != "q3").to_dicts()}
    assert {item["id"] for item in met} == {item for item, year in years.items() if 1980 <= year <= 1999}


def test_a_query_with_a_fault_has_a_problem_and_the_others_their_items(client: TestClient) -> None:
    answer = ask(client, {"user": "user-01"}, {"user": "nobody"}, {"features": {"age": "old"}}, {"user": "user-03"})
    assert answer.status_code == 200
    good, unknown, wrong, other = answer.json()["results"]
    assert len(good["items"]) == len(other["items"]) == 10
    assert (unknown["items"], unknown["problem"]["status"]) == ([], 404)
    assert "no user 'nobody'" in unknown["problem"]["detail"]
    assert (wrong["items"], wrong["problem"]["status"]) == ([], 422)
    assert "age" in wrong["problem"]["detail"]
    alone = ask(client, {"user": "user-03"}).json()["results"][0]
    assert alone == other


def test_where_no_query_has_an_answer_the_call_has_a_problem(client: TestClient) -> None:
    answer = ask(client, {"user": "nobody"}, {"user": "noone"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert [fault["at"] for fault in answer.json()["errors"]] == ["/queries/0", "/queries/1"]
    assert answer.json()["type"] == "urn:twotower:problem:unknown-id"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"queries": []}, 422, "/queries"),
        ({"queries": [{}]}, 422, "give a user, features or a history"),
        ({"queries": [{"user": "user-01"}], "k": 0}, 422, "/k"),
        ({"queries": [{"user": "user-01"}], "k": 51}, 422, "at most 50 items"),
        ({"queries": [{"user": "user-01"}], "k": True}, 422, "/k"),
        ({"queries": [{"user": "user-01"}], "k": 2.5}, 422, "/k"),
        ({"queries": [{"user": "user-01"}] * 4}, 422, "at most 3 entries"),
        ({"queries": [{"history": ["Item 01"] * 6}]}, 422, "at most 5 entries"),
        ({"queries": [{"user": "user-01"}], "exclude": ["Item 01"] * 8}, 422, "at most 7 entries"),
        ({"queries": [{"user": "user-01"}], "only": ["nothing"]}, 404, "no item 'nothing'"),
        ({"queries": [{"user": "user-01"}], "where": {"yaer": 1990}}, 422, "did you mean 'year'"),
        ({"queries": [{"user": "user-01"}], "where": {"year": "old"}}, 422, "year"),
        ({"queries": [{"user": "user-01"}], "where": {"year": {"least": 3}}}, 422, "min, max or not"),
        ({"queries": [{"user": "user-01"}], "columns": ["yaer"]}, 422, "did you mean 'year'"),
        ({"queries": [{"user": "user-01", "features": {"agge": 3}}]}, 422, "did you mean 'age'"),
        ({"queries": [{"user": "user-01"}], "kk": 3}, 422, "/kk"),
        ({"queries": [{"user": ["user-01"]}]}, 422, "/queries/0/user"),
        ({"queries": [{"user": 2**70}]}, 422, "/queries/0/user"),
        ({"queries": [{"user": "u" * 600}]}, 422, "/queries/0/user"),
        ([1], 422, "/"),
    ],
)
def test_what_can_not_be_asked(make_client: Any, body: Any, status: int, words: str) -> None:
    client = make_client(limits=Limits(max_k=50, max_queries=3, max_history=5, max_ids=7))
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_similar_items(client: TestClient, world: World) -> None:
    answer = client.post("/v1/similar", json={"items": ["Item 05", "Item 09"], "k": 4, "columns": ["year"]}).json()
    frame = world.recommender.similar_items(["Item 05", "Item 09"], k=4).frame
    for number, result in enumerate(answer["results"]):
        assert [item["id"] for item in result["items"]] == frame.filter(pl.col("query") == number)["item"].to_list()
    filtered = client.post("/v1/similar", json={"items": ["Item 05"], "k": 40, "where": {"query": ["q1", "q2"]}}).json()
    assert sorted(item["id"] for item in filtered["results"][0]["items"]) == ["Item 01", "Item 02"]
    assert client.post("/v1/similar", json={"items": ["nothing"]}).status_code == 404


def test_an_explanation_adds_up(client: TestClient, world: World) -> None:
    history = ["Item 03", "Item 07", "Item 11"]
    found = client.post("/v1/explain", json={"query": {"history": history}, "item": "Item 20"}).json()
    scores = {}
    for left_out in (None, *history):
        past = [item for item in history if item != left_out]
        frame = world.recommender.recommend(histories=[past], k=100, exclude_seen=False).frame
        scores[left_out] = frame.filter(pl.col("item") == "Item 20")["score"][0]
    assert found["score"] == pytest.approx(scores[None], abs=1e-5)
    pulls = {entry["id"]: entry["pull"] for entry in found["history"]}
    assert pulls == pytest.approx({item: scores[None] - scores[item] for item in history}, abs=1e-5)
    assert list(pulls.values()) == sorted(pulls.values(), reverse=True)
    assert client.post("/v1/explain", json={"query": {"history": history}, "item": "nothing"}).status_code == 404
