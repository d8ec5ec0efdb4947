"""A service that is killed while it writes has everything that it had acknowledged when it starts again."""

from __future__ import annotations

import http.client
import random
import threading
from pathlib import Path

import pytest

from tests.serving.conftest import TOKEN
from tests.serving.served import Served, served

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("kills", "workers"), [(2, 1), pytest.param(20, 1, marks=pytest.mark.slow), pytest.param(5, 2, marks=pytest.mark.slow)]
)
def test_acknowledged_writes_survive_kill_9(bundle: Path, tmp_path: Path, token_file: Path, kills: int, workers: int) -> None:
    options = ["--token-file", str(token_file), "--store", str(tmp_path / "live.sqlite"), "--log-level", "warning"]
    options += ["--workers", str(workers)]
    items: dict[str, int] = {}
    met: dict[str, list[str]] = {}
    maybe: set[str] = set()
    dice = random.Random(7)
    for life in range(kills):
        with served(bundle, tmp_path, *options) as running:
            _holds(running, items, met, maybe)
            end = threading.Event()
            writers = [
                threading.Thread(target=_write, args=(running, life, number, items, met, maybe, end)) for number in range(3)
            ]
            for writer in writers:
                writer.start()
            end.wait(0.2 + dice.random() * 0.8)
            running.kill()
            end.set()
            for writer in writers:
                writer.join()
    with served(bundle, tmp_path, *options) as running:
        _holds(running, items, met, maybe)
    assert len(items) > 5 * kills
    assert sum(map(len, met.values())) > 5 * kills


def _write(
    running: Served,
    life: int,
    number: int,
    items: dict[str, int],
    met: dict[str, list[str]],
    maybe: set[str],
    end: threading.Event,
) -> None:
    """Put items and append interactions until the service is gone; remember what was acknowledged."""
    user = f"{life}-{number}"
    for count in range(10_000):
        name = f"item {life}-{number}-{count}"
        try:
            maybe.add(name)
            put = {"items": [{"id": name, "features": {"year": 1900 + count % 120, "query": "put"}}]}
            if running.ask("PUT", "/v1/items", put, BEARER)[0] == 200:
                items[name] = 1900 + count % 120
                entry = {"interactions": [{"user": user, "item": name, "time": count}]}
                if running.ask("POST", "/v1/interactions", entry, BEARER)[0] == 200:
                    met.setdefault(user, []).append(name)
        except (OSError, http.client.HTTPException):
            return
        if end.is_set():
            return


def _holds(running: Served, items: dict[str, int], met: dict[str, list[str]], maybe: set[str]) -> None:
    """Everything that was acknowledged is there, and nothing that was never sent."""
    wishes = {"k": 1000, "exclude_seen": False, "where": {"query": "put"}, "columns": ["year"]}
    found: dict[str, int] = {}
    for first in range(0, len(items), 500):
        only = sorted(items)[first : first + 500]
        status, _, reply = running.ask("POST", "/v1/recommend", {"queries": [{"user": "user-01"}], "only": only} | wishes)
        assert status == 200, reply
        found |= {item["id"]: item["columns"]["year"] for item in reply["results"][0]["items"]}
    assert found == items
    for user, expected in met.items():
        _, _, reply = running.ask("GET", f"/v1/history?user={user}&limit=100")
        latest = [item["id"] for item in reply["items"]]
        unacknowledged = (
            latest[: len(latest) - len(expected)] if reply["total"] <= 100 else latest[: reply["total"] - len(expected)]
        )
        assert len(unacknowledged) <= 1
        assert set(unacknowledged) <= maybe
        assert latest[len(unacknowledged) :] == expected[::-1][: 100 - len(unacknowledged)]
