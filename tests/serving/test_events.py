"""A service whose model reads when events were and what they were rated: same history, same scores as the library gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.runs.events_world import Trained
from tests.serving.conftest import TOKEN

WRITE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("events") / "run", "transformer")


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("times") / "run", "times")


def opened(trained: Trained, make_client: Any, tmp_path: Path) -> Any:
    trained.recommender.save(tmp_path / "bundle")
    return make_client(model=tmp_path / "bundle")


def scores(client: Any, **query: Any) -> list[tuple[str, float]]:
    found = client.post("/v1/recommend", json={"queries": [query], "k": 5})
    assert found.status_code == 200, found.text
    return [(item["id"], item["score"]) for item in found.json()["results"][0]["items"]]


def expected(trained: Trained, **asked: Any) -> list[tuple[str, Any]]:
    frame = trained.recommender.recommend(k=5, **asked).frame
    return [(item, pytest.approx(score, abs=1e-4)) for item, score in zip(frame["item"], frame["score"], strict=True)]


def test_events_of_a_request(trained: Trained, make_client: Any, tmp_path: Path) -> None:
    client = opened(trained, make_client, tmp_path)
    assert client.get("/v1/model").json()["events"] == ["item", "time", "device", "rating"]
    history, at = trained.events("u3", 10**9), {"time": 1_790_000_000}
    assert scores(client, history=history, features=at) == expected(trained, histories=[history], features=[at])
    assert scores(client, user="u3", features=at) == expected(trained, users=["u3"], features=[at])
    shifted = [{**event, "time": 1_789_999_000 + at} for at, event in enumerate(history)]
    assert scores(client, history=shifted, features=at) != expected(trained, histories=[history], features=[at])
    assert scores(client, history=[], features=at) == expected(trained, histories=[[]], features=[at])
    for wrong in (
        [{"item": "i1"}],
        ["i1"],
        [{"item": "i1", "time": 5, "stars": 3}],
        [{"time": 5}],
        [{"item": "i1", "time": []}],
    ):
        for path, body in (
            ("recommend", {"queries": [{"history": wrong}]}),
            ("explain", {"query": {"history": wrong}, "item": "i2"}),
        ):
            assert client.post(f"/v1/{path}", json=body).status_code == 422, (path, wrong)


def test_a_query_says_when_it_is_or_is_told_what_was_assumed(trained: Trained, make_client: Any, tmp_path: Path) -> None:
    client = opened(trained, make_client, tmp_path)
    found = client.post(
        "/v1/recommend", json={"queries": [{"user": "u3"}, {"user": "u3", "features": {"time": 1_790_000_000}}]}
    )
    assumed = [result["assumed"] for result in found.json()["results"]]
    assert assumed == [trained.recommender.recommend(["u3"]).assumed, {}]
    assert list(assumed[0]) == ["time"]


def test_what_happens_while_it_serves_is_read_with_its_time(timed: Trained, make_client: Any, tmp_path: Path) -> None:
    client = opened(timed, make_client, tmp_path)
    new = [{"item": "i4", "time": 1_790_000_000.0}, {"item": "i9", "time": 1_790_500_000.0}]
    body = {"interactions": [{"user": "u3", **event} for event in new]}
    assert client.post("/v1/interactions", json=body, headers=WRITE).status_code in (200, 201)
    history = [*timed.recommender.events("u3"), *new]
    assert scores(client, user="u3") == expected(timed, histories=[history], users=["u3"])
    assert scores(client, user="u3") != expected(timed, users=["u3"])


def test_pulls_of_events(timed: Trained, trained: Trained, make_client: Any, tmp_path: Path) -> None:
    client = opened(timed, make_client, tmp_path)
    history = timed.recommender.events("u3")
    stored = client.post("/v1/explain", json={"query": {"user": "u3"}, "item": "i2"}).json()
    given = client.post("/v1/explain", json={"query": {"history": history}, "item": "i2"}).json()
    assert stored["history"] == given["history"]
    assert len(stored["history"]) > 3
    whole = timed.recommender.encode_queries(histories=[history])
    left = history[-1]["item"]
    rest = timed.recommender.encode_queries(histories=[[event for event in history if event["item"] != left]])
    vector_D = timed.recommender.item_vectors_ND[int(timed.recommender.items.require(["i2"], "item")[0])]
    pull = next(entry["pull"] for entry in stored["history"] if entry["id"] == left)
    assert pull == pytest.approx(float((whole - rest)[0] @ vector_D), abs=1e-4)


def test_pulls_of_stored_events_with_columns(trained: Trained, make_client: Any, tmp_path: Path) -> None:
    client, at = opened(trained, make_client, tmp_path), {"time": 1_790_000_000}
    new = {"user": "u3", "item": "i9", "time": 1_780_000_000}
    for interactions in ([], [new]):
        for each in interactions:
            assert client.post("/v1/interactions", json={"interactions": [each]}, headers=WRITE).status_code in (200, 201)
        size = len(trained.recommender.history("u3"))
        rows = trained.frame.filter(pl.col("user") == "u3").head(size).select("item", "time", "rating", "device").to_dicts()
        history = [*rows, *({key: each[key] for key in ("item", "time")} for each in interactions)]
        stored = client.post("/v1/explain", json={"query": {"user": "u3", "features": at}, "item": "i2"})
        assert stored.status_code == 200, stored.text
        given = client.post("/v1/explain", json={"query": {"history": history[-8:], "features": at}, "item": "i2"}).json()
        assert stored.json()["score"] == pytest.approx(given["score"], abs=1e-5)
        assert stored.json()["without_history"] == pytest.approx(given["without_history"], abs=1e-5)
        pulls = {entry["id"]: entry["pull"] for entry in stored.json()["history"]}
        # of what is stored, more than eight events are left, so that without one an earlier one is read
        assert set(pulls) >= {entry["id"] for entry in given["history"]}
    unknown = client.post("/v1/explain", json={"query": {"user": "nobody"}, "item": "i2"}).json()
    assert (unknown["history"], unknown["score"]) == ([], unknown["without_history"])


def test_events_are_read_in_the_order_of_their_times(timed: Trained, make_client: Any, tmp_path: Path) -> None:
    client = opened(timed, make_client, tmp_path)
    history = timed.recommender.events("u3")
    assert scores(client, history=history[::-1]) == scores(client, history=history)
    pulls = [
        client.post("/v1/explain", json={"query": {"history": given}, "item": "i2"}).json()["history"]
        for given in (history, history[::-1])
    ]
    assert pulls[0] == pulls[1]
    odd = {"item": "i1", "time": 1e300}
    found = client.post("/v1/recommend", json={"queries": [{"history": history}, {"history": [odd]}], "k": 5}).json()
    assert [len(result["items"]) for result in found["results"]] == [5, 5]
