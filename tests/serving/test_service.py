"""What surrounds every route: limits, problems, figures, the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from twotower.errors import ConfigError, IncompatibleStoreError
from twotower.serving import Limits
from twotower.serving.problems import Problem
from twotower.serving.token_file import read_token
from twotower.store import LiveStore

GOOD = {"queries": [{"user": "user-01"}], "k": 3}


def test_health_readiness_and_figures(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json()["version"] == client.get("/v1/model").json()["version"]
    assert client.head("/healthz").content == b""
    client.post("/v1/recommend", json=GOOD)
    client.post("/v1/recommend", json={"queries": []})
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'twotower_requests_total{route="/v1/recommend",status="200"} 1' in text
    assert 'twotower_requests_total{route="/v1/recommend",status="422"} 1' in text
    assert 'twotower_requests_total{route="other",status="404"} 1' in text
    assert 'twotower_request_seconds_bucket{route="/v1/recommend",le="+Inf"} 2' in text
    assert "nowhere" not in text
    assert "\ntwotower_items 30\n" in text
    assert "\ntwotower_users 25\n" in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? [-+.\de]+", line)


def test_the_model_says_what_it_can_be_asked(client: TestClient) -> None:
    facts = client.get("/v1/model").json()
    assert [column["name"] for column in facts["features"]] == ["age", "at", "city", "device"]
    city = next(column for column in facts["features"] if column["name"] == "city")
    assert (city["type"], city["values"]) == ("String", ["Oslo", "Rome"])
    assert [column["name"] for column in facts["columns"]] == ["year", "query", "rank", "score"]
    assert (facts["items"], facts["users"], facts["item_ids"], facts["writable"]) == (30, 25, "text", True)


def test_a_client_may_ask_so_many_things_at_a_time(make_client: Any) -> None:
    client = make_client(limits=Limits(max_per_client=2, max_waiting=50))
    statuses: list[int] = []

    def ask() -> None:
        statuses.extend(client.post("/v1/recommend", json=GOOD).status_code for _ in range(10))

    crowd = [threading.Thread(target=ask) for _ in range(6)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert set(statuses) == {200, 429}


def test_a_write_counts_until_it_is_done_though_the_client_has_gone(make_client: Any) -> None:
    service = make_client(limits=Limits(max_waiting=1)).app.service
    go_on, done = threading.Event(), []

    def work() -> None:
        assert go_on.wait(timeout=60)
        done.append(True)

    async def asked() -> None:
        write = asyncio.create_task(service.write(work))
        await asyncio.sleep(0.05)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        with pytest.raises(Problem, match="1 writes wait already"):
            await service.write(work)
        go_on.set()
        while not done:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await service.write(lambda: done.append(True))

    asyncio.run(asked())
    assert done == [True, True]


def test_no_route_means_a_problem(client: TestClient) -> None:
    for method, path, status in (("GET", "/v2/recommend", 404), ("GET", "/v1/recommend", 405), ("OPTIONS", "/v1/items", 405)):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
    allowed = client.request("PATCH", "/v1/items").headers["allow"]
    assert {"GET", "PUT", "DELETE"} <= {method.strip() for method in allowed.split(",")}


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("short", 0o600, "at least 16"),
        ("a token of several words", 0o600, "printable ASCII"),
        ("ein-Schlüssel-mit-Umlaut", 0o600, "printable ASCII"),
        ("a-token-of-many-signs", 0o644, "chmod 600"),
        (None, 0o600, "can't be read"),
    ],
)
def test_token_files(tmp_path: Path, content: str | None, mode: int, words: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        read_token(path)


def test_a_store_of_other_ids_is_refused(make_client: Any, tmp_path: Path) -> None:
    LiveStore.open(tmp_path / "other.sqlite", item_kind="integer", user_kind="text").close()
    with pytest.raises(IncompatibleStoreError):
        make_client(store=tmp_path / "other.sqlite")


def test_the_document_is_whole(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    text = json.dumps(document)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answer = client.request(method.upper(), path)
            assert str(answer.status_code) in operation["responses"], (method, path, answer.status_code)


def test_without_the_page_nobody_can_look_around(make_client: Any) -> None:
    client = make_client(page=False)
    for path in ("/", "/page.js", "/v1/users", "/v1/history?user=user-01"):
        assert client.get(path).status_code == 404
    assert client.get("/v1/items").status_code == 405
    assert "/v1/users" not in client.get("/openapi.json").json()["paths"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["user-01", "Item 03"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "queries": st.lists(
            st.fixed_dictionaries({}, optional={"user": JSON, "features": JSON, "history": JSON}) | JSON, max_size=3
        ),
        "k": JSON | st.integers(1, 40),
        "where": JSON | st.dictionaries(st.sampled_from(["year", "query", "rank"]), JSON, max_size=2),
        "only": JSON,
        "exclude": JSON,
        "exclude_seen": JSON,
        "columns": JSON,
        "items": JSON,
        "interactions": JSON,
        "version": JSON,
        "item": JSON,
        "query": JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES | JSON)
def test_nothing_that_is_sent_is_a_fault_of_the_service(client: TestClient, writing: dict[str, str], body: Any) -> None:
    data = json.dumps(body)
    for method, path in (
        ("POST", "/v1/recommend"),
        ("POST", "/v1/similar"),
        ("POST", "/v1/explain"),
        ("PUT", "/v1/items"),
        ("POST", "/v1/interactions"),
        ("POST", "/v1/model:activate"),
    ):
        answer = client.request(method, path, content=data, headers=writing | {"Content-Type": "application/json"})
        assert answer.status_code in (200, 400, 404, 409, 422), answer.text
        if answer.status_code != 200:
            assert answer.json()["status"] == answer.status_code
