"""A service whose live items and histories are in Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import TOKEN
from tests.serving.served import served
from tests.store.redis_server import RedisServer, needs_redis

from twotower.errors import ConfigError
from twotower.serving.config import ServiceConfig
from twotower.serving.stores import is_redis_url, redis_place

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_which_store_it_is() -> None:
    assert [is_redis_url(place) for place in ("redis://h/0", "rediss://h", "live.sqlite", "redis", Path("redis://h"))] == [
        *(True, True),
        *(False, False, False),
    ]
    assert redis_place("rediss://ann:p%40ss@h:1/2") == ("rediss://ann:p%40ss@h:1/2", "twotower", True)
    assert redis_place("redis://h/0?prefix=shop&require_durable=yes") == ("redis://h/0", "shop", True)
    with pytest.raises(ConfigError, match="require_durable of the store's URL must be yes or no"):
        redis_place("redis://h/0?require_durable=maybe")


def test_a_config_takes_both_and_shows_no_password(tmp_path: Path) -> None:
    for store in (tmp_path / "live.sqlite", "redis://:secret@h/0"):
        config = ServiceConfig(model=tmp_path, store=store)
        assert str(ServiceConfig.model_validate_json(config.model_dump_json()).store) == str(store)
        assert "secret" not in repr(config)


def _ask_wrongly(bundle: Path, store: str) -> str:
    import subprocess
    import sys

    command = [sys.executable, "-m", "twotower", "serve", str(bundle), "--store", store, "--port", "8765"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    return done.stderr


@pytest.mark.parametrize(
    ("store", "words"),
    [("postgres://:secret@h/0", "redis:// or rediss://"), ("redis://:secret@h/0?require_durable=1", "must be yes or no")],
)
def test_another_url_is_refused_before_it_serves(bundle: Path, store: str, words: str) -> None:
    error = _ask_wrongly(bundle, store)
    assert words in error
    assert "secret" not in error


@pytest.mark.slow
@pytest.mark.parametrize("mark", [pytest.param(0, marks=needs_redis)])
def test_two_services_share_it_over_http_and_it_outlasts_both(
    bundle: Path, tmp_path: Path, token_file: Path, mark: int
) -> None:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis").start()
    options = ["--token-file", str(token_file), "--store", f"{server.url}?prefix=shop", "--log-level", "warning"]
    ask = {"queries": [{"user": "user-01"}], "k": 100}

    def listed(running: Any) -> list[str]:
        status, _, answer = running.ask("POST", "/v1/recommend", ask)
        assert status == 200, answer
        return [item["id"] for item in answer["results"][0]["items"]]

    try:
        with served(bundle, tmp_path, *options) as one, served(bundle, tmp_path, *options) as other:
            before = listed(one)
            items = {"items": [{"id": "A new item", "features": {"year": 1999}}]}
            assert one.ask("PUT", "/v1/items", items, BEARER)[0] == 200
            assert one.ask("DELETE", f"/v1/items?id={before[1].replace(' ', '%20')}", None, BEARER)[0] == 200
            met = {"interactions": [{"user": "user-01", "item": before[0]}]}
            assert other.ask("POST", "/v1/interactions", met, BEARER)[0] == 200
            after = listed(one)
            assert listed(other) == after
            assert set(before) - set(after) == set(before[:2])
            assert "A new item" in after
            server.kill()
            status, headers, answer = one.ask("PUT", "/v1/items", items, BEARER)
            assert (status, {name.lower(): value for name, value in headers.items()}["retry-after"]) == (503, "1")
            assert answer["detail"] == "live items and histories can't be had now; try again"
            assert "can't be reached" in one.log.read_text()
            server.start()
            assert listed(one) == after
        with served(bundle, tmp_path, *options) as again:
            assert listed(again) == after
    finally:
        server.stop()
