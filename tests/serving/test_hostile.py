"""A service in a process of its own, and what its clients should not send."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import TOKEN
from tests.serving.served import Served, served

GOOD = {"queries": [{"user": "user-01"}], "k": 3}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with served(bundle, folder, "--token-file", str(token), "--store", str(folder / "live.sqlite")) as found:
        yield found


def deep(levels: int) -> bytes:
    return b'{"queries":' + b"[" * levels + b"]" * levels + b"}"


def recommend(**wishes: Any) -> tuple[str, str, Any]:
    return "POST", "/v1/recommend", GOOD | wishes


HOSTILE: dict[str, tuple[tuple[str, str, Any], int]] = {
    "huge k": (recommend(k=10**9), 422),
    "k beyond 64 bits": (recommend(k=2**80), 422),
    "k below zero": (recommend(k=-1), 422),
    "k is text": (recommend(k="10"), 422),
    "k is null": (recommend(k=None), 422),
    "NaN": (("POST", "/v1/recommend", b'{"queries":[{"features":{"age":NaN}}]}'), 422),
    "infinity": (("POST", "/v1/recommend", b'{"queries":[{"features":{"age":1e999}}]}'), 422),
    "NaN as k": (("POST", "/v1/recommend", b'{"queries":[{"user":"user-01"}],"k":NaN}'), 422),
    "10,000 levels of JSON": (("POST", "/v1/recommend", deep(10_000)), 400),
    "100 levels of JSON": (("POST", "/v1/recommend", deep(100)), 422),
    "deep features": (
        ("PUT", "/v1/items", b'{"items":[{"id":"a","features":{"year":' + b"[" * 150 + b"]" * 150 + b"}}]}"),
        422,
    ),
    "no JSON": (("POST", "/v1/recommend", b"{'queries'"), 400),
    "empty body": (("POST", "/v1/recommend", b""), 400),
    "not UTF-8": (("POST", "/v1/recommend", b'{"queries":[{"user":"\xff\xfe"}]}'), 400),
    "half a character": (("POST", "/v1/recommend", b'{"queries":[{"user":"\\ud800"}]}'), 400),
    "a list in place of an object": (("POST", "/v1/recommend", [1, 2]), 422),
    "null": (("POST", "/v1/recommend", b"null"), 422),
    "a number of a million digits": (("POST", "/v1/recommend", b'{"queries":[{"user":' + b"9" * 900_000 + b"}]}"), 400),
    "a user that is an object": (recommend(queries=[{"user": {"$gt": ""}}]), 422),
    "unknown members": (recommend(__proto__={"admin": True}), 422),
    "257 queries": (recommend(queries=[{"user": "user-01"}] * 257), 422),
    "a history without an end": (recommend(queries=[{"history": ["Item 01"] * 50_000}]), 422),
    "an id of control characters": (recommend(queries=[{"user": "\u0000\u0007\u001b[2J\n"}]), 404),
    "an id that is a path": (recommend(queries=[{"user": "../../etc/passwd"}]), 404),
    "an id that is SQL": (recommend(queries=[{"user": "'; DROP TABLE items; --"}]), 404),
    "a very long id": (recommend(queries=[{"user": "u" * 100_000}]), 422),
    "a filter that is code": (recommend(where={"year": {"__import__('os')": 1}}), 422),
    "a filter on a column that is a path": (recommend(where={"../year": 1}), 422),
    "a column that is a path": (recommend(columns=["../../secret"]), 422),
    "a version that is a path": (("POST", "/v1/model:activate", {"version": "../../../tmp"}), 404),
    "an item of control characters": (("DELETE", "/v1/items?id=%00%1b", None), 404),
    "a limit of text": (("GET", "/v1/items?limit=many", None), 422),
    "a limit without an end": (("GET", f"/v1/items?limit={'9' * 5000}", None), 422),
    "an unknown path": (("GET", "/v1/../../etc/passwd", None), 404),
    "an encoded path": (("GET", "/%2e%2e/%2e%2e/etc/passwd", None), 404),
    "a path of the page": (("GET", "/page.js/../../secret", None), 404),
    "another method": (("PATCH", "/v1/items", {}), 405),
    "a method of nobody": (("BREW", "/v1/recommend", {}), 405),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_each_has_its_status(running: Served, name: str) -> None:
    (method, path, body), status = HOSTILE[name]
    found, headers, reply = running.ask(method, path, body, BEARER)
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert reply["status"] == status
    assert "Traceback" not in json.dumps(reply)
    assert len(json.dumps(reply)) < 20_000
    assert running.ask("POST", "/v1/recommend", GOOD)[0] == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_50_megabytes(running: Served, declared: bool) -> None:
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    size = 50 * 2**20
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(head + (b"Content-Length: %d\r\n\r\n" % size if declared else b"Transfer-Encoding: chunked\r\n\r\n"))
        sent = 0
        try:
            while sent < size and not _readable(connection):
                connection.sendall(b" " * 2**16 if declared else b"10000\r\n" + b" " * 2**16 + b"\r\n")
                sent += 2**16
        except ConnectionError:
            pass
        reply = connection.recv(2**16)
    assert reply.startswith(b"HTTP/1.1 413")
    assert sent < size / 2  # it was refused before it was all there
    assert running.ask("POST", "/v1/recommend", GOOD)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer " + "x" * 50_000}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}],
)
def test_bad_tokens(running: Served, headers: dict[str, str]) -> None:
    status, _, _ = running.ask("PUT", "/v1/items", {"items": [{"id": "a", "features": {"year": 1}}]}, headers)
    assert status in (401, 431)


def test_another_kind_of_body(running: Served) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert running.ask("POST", "/v1/recommend", GOOD, {"Content-Type": kind})[0] == 415


def test_a_client_that_never_ends_its_request_holds_up_nobody(running: Served) -> None:
    slow = []
    try:
        for number in range(200):
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=5)
            head = b"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
            connection.sendall(head if number % 2 else head[:40])
            slow.append(connection)
        start = time.monotonic()
        for _ in range(20):
            assert running.ask("POST", "/v1/recommend", GOOD)[0] == 200
        assert time.monotonic() - start < 10
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.slow
def test_a_request_that_does_not_arrive_is_given_up(running: Served) -> None:
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    assert running.send(head, seconds=20).startswith(b"HTTP/1.1 408")
    start = time.monotonic()
    running.send(head[:40], seconds=40)  # not even its head
    assert time.monotonic() - start < 30


def test_bytes_that_are_no_http(running: Served) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 5000, b"GET / HTTP/9.9\r\n\r\n"):
        reply = running.send(data, seconds=1)
        assert not reply.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))
    assert running.ask("POST", "/v1/recommend", GOOD)[0] == 200


def test_request_ids_come_back_and_nothing_of_the_request_is_in_the_log(running: Served) -> None:
    secret = "a-user-who-should-not-be-logged"
    _, headers, _ = running.ask("POST", "/v1/recommend", {"queries": [{"user": secret}]}, {"X-Request-ID": "mine-17"})
    assert headers["x-request-id"] == "mine-17"
    _, headers, _ = running.ask("GET", f"/v1/history?user={secret}", None, {"X-Request-ID": "bad id\t" + "x" * 100})
    assert len(headers["x-request-id"]) == 16
    log = running.log.read_text()
    assert '"id": "mine-17"' in log
    assert secret not in log
    assert TOKEN not in log
    for line in log.splitlines()[1:]:
        if line.startswith("{"):
            assert json.loads(line)["event"] in ("request", "version", "fault")
    assert '"fault"' not in log


def _readable(connection: socket.socket) -> bool:
    import select

    return bool(select.select([connection], [], [], 0)[0])
