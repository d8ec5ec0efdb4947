"""What a caller is told of a server's faults; no server is needed."""

from __future__ import annotations

from typing import Any

import pytest

from twotower.errors import MissingExtraError, StoreBusyError, StoreError
from twotower.store import RedisStore
from twotower.store.redis_errors import may_pass, shown_url, store_error, was_sent

redis: Any = pytest.importorskip("redis", reason="redis is not installed: pip install 'twotower[redis]'")
errors = redis.exceptions


@pytest.mark.parametrize(
    ("error", "kind", "words", "sent", "passes"),
    [
        (errors.ReadOnlyError("You can't write"), StoreError, "read-only replica", False, False),
        (errors.ResponseError("ERR Error running script: @user_script:1: -READONLY You"), StoreError, "replica", False, False),
        (errors.OutOfMemoryError("command not allowed"), StoreError, "memory is full", False, False),
        (errors.ResponseError("MISCONF Redis is configured to save"), StoreError, "can't save to its own disk", False, False),
        (errors.ResponseError("NOREPLICAS Not enough"), StoreError, "min-replicas-to-write", False, False),
        (errors.NoPermissionError("User x has no permissions"), StoreError, "may not do this", False, False),
        (errors.AuthenticationError("Authentication required."), StoreError, "asks for a user and a password", False, False),
        (errors.AuthenticationError("invalid username-password pair"), StoreError, "refused the user", False, False),
        (errors.MovedError("1 127.0.0.1:1"), StoreError, "one node of a cluster", False, False),
        (errors.BusyLoadingError("Redis is loading"), StoreBusyError, "still loading.*try again", False, True),
        (errors.ResponseError("BUSY Redis is busy running a script"), StoreBusyError, "busy with somebody's", False, True),
        (errors.ConnectionError("max number of clients reached"), StoreBusyError, "as many clients", False, True),
        (errors.ConnectionError("Error 111 connecting to h:1. Refused."), StoreBusyError, "can't be reached", False, True),
        (errors.ConnectionError("Connection closed by server."), StoreError, "can't be reached", True, True),
        (errors.TimeoutError("Timeout connecting to server"), StoreBusyError, "not answered in time", False, False),
        (errors.TimeoutError("Timeout reading from socket"), StoreError, "not answered in time", True, False),
        (errors.ResponseError("WRONGTYPE Operation"), StoreError, "WRONGTYPE Operation", False, False),
    ],
)
def test_errors_say_what_to_do(error: Exception, kind: type[StoreError], words: str, sent: bool, passes: bool) -> None:
    assert (was_sent(redis, error), may_pass(redis, error)) == (sent, passes)
    found = store_error(redis, error, "redis://h", "written", sent=sent)
    assert type(found) is kind
    with pytest.raises(StoreError, match=words):
        raise found
    assert ("is not known" if sent else "nothing of this call was written") in str(found)
    assert "written" not in str(store_error(redis, error, "redis://h", "read", sent=sent))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ann:secret@h:6379/0?password=secret", "redis://h:6379/0"),
        ("rediss://:secret@[::1]:6380", "rediss://[::1]:6380"),
        ("unix://ann:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis://:secret@h:secret/0", "redis://h/0"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "http://h"}, "url must begin with redis://"),
        ({"prefix": ""}, "prefix must be"),
        ({"prefix": "a:history"}, "prefix must be"),
        ({"prefix": "a*"}, "prefix must be"),
        ({"item_kind": "float"}, "item_kind must be"),
        ({"user_kind": None}, "user_kind must be"),
        ({"wait_s": 0}, "wait_s must be positive"),
    ],
)
def test_arguments_are_checked_first(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisStore.open(**({"url": "redis://127.0.0.1:1", "item_kind": "text", "user_kind": "text"} | given))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@h:secret/0",
        "redis://:secret@h/0?socket_timeout=secret",
        "redis://h/?x=secret",
        "redis://:secret@h/0?decode_responses=true",
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(StoreError) as found:
        RedisStore.open(url, item_kind="text", user_kind="text", wait_s=0.1)
    assert "secret" not in str(found.value)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[redis\]'"):
        RedisStore.open("redis://127.0.0.1:1", item_kind="text", user_kind="text")


def test_the_room_does_not_import_it() -> None:
    import subprocess
    import sys

    code = "import sys, twotower.store; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
