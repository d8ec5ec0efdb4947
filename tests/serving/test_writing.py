"""Items and histories that change while the service runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.recommender.conftest import World


def listed(client: TestClient, query: dict[str, Any], **wishes: Any) -> list[str]:
    answer = client.post("/v1/recommend", json={"queries": [query], "k": 100, **wishes})
    return [item["id"] for item in answer.json()["results"][0]["items"]]


def test_a_new_item_is_recommended_to_those_who_like_its_neighbours(
    client: TestClient, world: World, writing: dict[str, str]
) -> None:
    query = {"user": "user-01"}
    best = listed(client, query)[0]
    columns = world.items.filter(world.items["item"] == best).drop("item").to_dicts()[0]
    answer = client.put("/v1/items", json={"items": [{"id": "A new item", "features": columns}]}, headers=writing)
    assert answer.json()["accepted"] == 1
    assert "A new item" in listed(client, query)
    found = client.post("/v1/recommend", json={"queries": [query], "k": 100, "columns": ["year"]}).json()["results"][0]["items"]
    assert next(item for item in found if item["id"] == "A new item")["columns"] == {"year": columns["year"]}
    assert client.post("/v1/similar", json={"items": ["A new item"], "k": 3}).status_code == 200
    assert listed(client, query, where={"year": columns["year"]}).count("A new item") == 1


def test_a_changed_item_keeps_its_place_in_histories(client: TestClient, world: World, writing: dict[str, str]) -> None:
    user = "user-01"
    seen = world.recommender.history(user)[-1]
    before = client.post(
        "/v1/recommend", json={"queries": [{"user": user}], "k": 100, "exclude_seen": False, "columns": ["year"]}
    )
    client.put("/v1/items", json={"items": [{"id": seen, "features": {"year": 1890, "query": "changed"}}]}, headers=writing)
    after = client.post(
        "/v1/recommend", json={"queries": [{"user": user}], "k": 100, "exclude_seen": False, "columns": ["year"]}
    )
    scores = [{item["id"]: item["score"] for item in r.json()["results"][0]["items"]} for r in (before, after)]
    assert scores[0][seen] != scores[1][seen]
    assert {item: score for item, score in scores[0].items() if item != seen} == {
        item: score for item, score in scores[1].items() if item != seen
    }
    years = {item["id"]: item["columns"]["year"] for item in after.json()["results"][0]["items"]}
    assert years[seen] == 1890
    assert seen not in listed(client, {"user": user})
    assert listed(client, {"user": user}, exclude_seen=False, where={"query": "changed"}) == [seen]


def test_a_removed_item_is_gone_until_it_is_put_again(client: TestClient, writing: dict[str, str]) -> None:
    query = {"user": "user-01"}
    best, second = listed(client, query)[:2]
    assert client.delete("/v1/items", params={"id": [best, second]}, headers=writing).json()["accepted"] == 2
    rest = listed(client, query)
    assert best not in rest
    assert second not in rest
    assert client.post("/v1/similar", json={"items": [best]}).status_code == 404
    assert client.delete("/v1/items", params={"id": best}, headers=writing).status_code == 404
    assert listed(client, {"history": [best]})  # it is history all the same
    client.put("/v1/items", json={"items": [{"id": best, "features": {"year": 1999}}]}, headers=writing)
    assert best in listed(client, query)
    assert second not in listed(client, query)


def test_an_interaction_changes_the_next_list(client: TestClient, writing: dict[str, str]) -> None:
    query = {"user": "user-01"}
    before = listed(client, query)
    entries = [{"user": "user-01", "item": before[0]}, {"user": "user-01", "item": before[1]}]
    assert client.post("/v1/interactions", json={"interactions": entries}, headers=writing).json()["accepted"] == 2
    after = listed(client, query)
    assert set(before) - set(after) == set(before[:2])
    assert after != [item for item in before if item in after]  # the query is another one
    history = client.get("/v1/history", params={"user": "user-01", "limit": 2}).json()
    assert [item["id"] for item in history["items"]] == before[1::-1]


def test_somebody_unknown_is_known_after_an_interaction(client: TestClient, world: World, writing: dict[str, str]) -> None:
    assert client.post("/v1/recommend", json={"queries": [{"user": "somebody"}]}).status_code == 404
    client.post("/v1/interactions", json={"interactions": [{"user": "somebody", "item": "Item 03"}]}, headers=writing)
    expected = world.recommender.recommend(["somebody"], histories=[["Item 03"]], k=100).frame["item"].to_list()
    assert listed(client, {"user": "somebody"}) == expected


def test_what_the_model_was_trained_with_does_not_count_twice(
    client: TestClient, world: World, writing: dict[str, str]
) -> None:
    before = listed(client, {"user": "user-01"}, exclude_seen=False)
    last = int(world.recommender.users.last_times(["user-01"])[0] or 0)
    item = world.recommender.history("user-01")[0]
    old = [{"user": "user-01", "item": item, "time": last}]
    client.post("/v1/interactions", json={"interactions": old}, headers=writing)
    assert listed(client, {"user": "user-01"}, exclude_seen=False) == before
    client.post("/v1/interactions", json={"interactions": [old[0] | {"time": last + 1}]}, headers=writing)
    assert listed(client, {"user": "user-01"}, exclude_seen=False) != before


def test_what_was_written_outlasts_the_service(make_client: Any, writing: dict[str, str], tmp_path: Path) -> None:
    first = make_client()
    first.put("/v1/items", json={"items": [{"id": "A new item", "features": {"year": 1999}}]}, headers=writing)
    first.delete("/v1/items", params={"id": "Item 04"}, headers=writing)
    first.post("/v1/interactions", json={"interactions": [{"user": "x", "item": "A new item"}]}, headers=writing)
    expected = listed(first, {"user": "x"}, exclude_seen=False)
    second = make_client()  # another process beside the first would do the same
    assert listed(second, {"user": "x"}, exclude_seen=False) == expected
    assert "A new item" in expected
    assert "Item 04" not in expected
    second.delete("/v1/items", params={"id": "A new item"}, headers=writing)
    assert "A new item" not in listed(first, {"user": "x"}, exclude_seen=False)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("PUT", "/v1/items", {"items": [{"id": 7}]}, 422, "item ids are text"),
        ("PUT", "/v1/items", {"items": [{"id": "a", "features": {"yaer": 1}}]}, 422, "did you mean 'year'"),
        ("PUT", "/v1/items", {"items": [{"id": "a", "features": {"year": "new"}}]}, 422, "year"),
        ("PUT", "/v1/items", {"items": [{"id": "a", "features": {"item": "b"}}]}, 422, "given apart"),
        ("PUT", "/v1/items", {"items": [{"id": "a", "features": {}}]}, 422, "year"),  # may not be missing
        ("PUT", "/v1/items", {"items": [{"id": "a", "features": {"year": 1}}] * 2}, 422, "came twice"),
        ("PUT", "/v1/items", {"items": []}, 422, "/items"),
        ("DELETE", "/v1/items", None, 422, "name the items"),
        ("DELETE", "/v1/items?id=a&name=b", None, 422, "name the items"),
        ("DELETE", "/v1/items?id=nothing", None, 404, "no item 'nothing'"),
        ("POST", "/v1/interactions", {"interactions": [{"user": "a", "item": "nothing"}]}, 404, "no item 'nothing'"),
        ("POST", "/v1/interactions", {"interactions": [{"user": 7, "item": "Item 01"}]}, 422, "must be text"),
        ("POST", "/v1/interactions", {"interactions": [{"item": "Item 01"}]}, 422, "/interactions/0/user"),
    ],
)
def test_what_can_not_be_written(
    client: TestClient, writing: dict[str, str], method: str, path: str, body: Any, status: int, words: str
) -> None:
    before = listed(client, {"user": "user-01"})
    answer = client.request(method, path, json=body, headers=writing)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert listed(client, {"user": "user-01"}) == before


WRITES = [
    ("PUT", "/v1/items", {"items": [{"id": "a", "features": {"year": 1}}]}),
    ("DELETE", "/v1/items?id=Item 01", None),
    ("POST", "/v1/interactions", {"interactions": [{"user": "a", "item": "Item 01"}]}),
    ("POST", "/v1/model:activate", {"version": "a"}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", "Basic a-token-of-many-signs", "Bearer a-token-of-many-sign"]
)
def test_writes_need_the_token(client: TestClient, method: str, path: str, body: Any, given: str | None) -> None:
    answer = client.request(method, path, json=body, headers={} if given is None else {"Authorization": given})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_without_a_token_nobody_writes(make_client: Any, writing: dict[str, str], method: str, path: str, body: Any) -> None:
    assert make_client(token=False).request(method, path, json=body, headers=writing).status_code == 403


def test_reading_may_need_the_token_too(make_client: Any, writing: dict[str, str]) -> None:
    client = make_client(private=True)
    for path in ("/v1/model", "/v1/users", "/v1/history?user=user-01", "/v1/items"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=writing).status_code == 200
    assert client.post("/v1/recommend", json={"queries": [{"user": "user-01"}]}).status_code == 401
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/"):
        assert client.get(path).status_code == 200
