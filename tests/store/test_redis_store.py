"""What a store in Redis refuses, what it says then, and what outlasts a server that is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.redis_server import DURABLE, RedisServer, needs_redis

from twotower.errors import CorruptStoreError, IncompatibleStoreError, StoreBusyError, StoreError
from twotower.store import Interaction, RedisStore

pytestmark = needs_redis

Start = Callable[..., RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers; they end with the test."""
    servers: list[RedisServer] = []

    def started(*settings: str) -> RedisServer:
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        servers.append(RedisServer(folder, *settings).start())
        return servers[-1]

    yield started
    for server in servers:
        server.stop()


@pytest.fixture
def open_store() -> Iterator[Callable[..., RedisStore]]:
    stores: list[RedisStore] = []

    def opened(url: str, **named: Any) -> RedisStore:
        stores.append(RedisStore.open(url, **({"item_kind": "text", "user_kind": "text"} | named)))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def client(start: Start) -> Iterator[tuple[Any, RedisServer]]:
    """A durable server, and a way to meddle with it."""
    redis = pytest.importorskip("redis")
    server = start()
    meddling = redis.Redis(port=server.port)
    yield meddling, server
    meddling.close()


def test_what_was_acknowledged_survives_a_killed_server(start: Start, open_store: Callable[..., RedisStore]) -> None:
    server = start()
    acknowledged: list[str] = []
    for life in range(3):
        store = open_store(server.url, wait_s=0.2)
        end = threading.Event()

        def write(thread: int, store: RedisStore = store, life: int = life, end: threading.Event = end) -> None:
            n = 0
            while not end.is_set():
                key = f"{life}.{thread}.{n}"
                try:
                    store.append([Interaction(f"u{thread}", key + part, float(n)) for part in "abc"])
                    store.put_items([(key, {"n": n}), (key + "!", {})])
                except StoreError:
                    return
                acknowledged.append(key)
                n += 1

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.kill()
        end.set()
        for thread in threads:
            thread.join()
        server.start()
    store = open_store(server.url)
    met = store.interactions()
    assert [entry.sequence for entry in met] == list(range(1, len(met) + 1))
    for number in range(0, len(met), 3):
        key = met[number].item[:-1]  # type: ignore[index]
        assert [entry.item for entry in met[number : number + 3]] == [key + part for part in "abc"], "all of a call or nothing"
    items = {change.item for change in store.item_changes()}
    assert len(acknowledged) > 30
    assert {key + "c" for key in acknowledged} <= {entry.item for entry in met}
    assert {key + "!" for key in acknowledged} <= items
    assert sorted(entry for history in store.histories([f"u{n}" for n in range(4)]) for entry in history) == met


WRITER = """
import sys, threading
from twotower.store import Interaction, RedisStore

store = RedisStore.open(sys.argv[1], item_kind="integer", user_kind="integer", wait_s=60)
process, errors = int(sys.argv[2]), []
print("ready", flush=True)
sys.stdin.readline()

def write(thread):
    try:
        for n in range(50):
            store.append([Interaction(process, thread * 1000 + n, float(n)), Interaction(process, -n)])
            assert any(entry.item == thread * 1000 + n for entry in store.histories([process])[0])
            store.put_items([(process * 100_000 + thread * 1000 + n, {"n": n})])
    except Exception as error:
        errors.append(repr(error))

def follow():
    after, seen = 0, 0
    while seen < 400 and not errors:
        for change in store.item_changes(after, limit=7):
            assert change.sequence == after + 1
            after, seen = change.sequence, seen + 1

threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)] + [threading.Thread(target=follow)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
store.close()
assert not errors, errors
"""


def test_two_processes_that_write_at_once_lose_nothing(start: Start, open_store: Callable[..., RedisStore]) -> None:
    url = start().url
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(number)], stdin=-1, stdout=-1, stderr=-1, text=True)
        for number in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    store = open_store(url, item_kind="integer", user_kind="integer")
    assert (store.last_interaction(), store.last_item_change(), len(store.interactions())) == (800, 400, 800)
    expected = sorted(thread * 1000 + n for thread in range(4) for n in range(50))
    for history in store.histories([0, 1]):
        assert sorted(int(entry.item) for entry in history if entry.time is not None) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("--appendonly", "no"), "appendonly no.*set 'appendonly yes'"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "appendfsync everysec.*set 'appendfsync always'"),
        ((*DURABLE, "--no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite yes"),
        ((*DURABLE, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), "evicts keys.*allkeys-lru"),
        ((*DURABLE, "--rename-command", "CONFIG", ""), "does not say whether it keeps"),
    ],
)
def test_a_server_that_may_lose_what_it_acknowledged(
    start: Start, open_store: Callable[..., RedisStore], settings: tuple[str, ...], words: str
) -> None:
    url = start(*settings).url
    with pytest.raises(StoreError, match=words) as found:
        open_store(url)
    assert "require_durable=False" in str(found.value)
    assert open_store(url, require_durable=False).append([Interaction("u", "a")]) == 1


def test_another_kind_of_ids_or_another_program_is_refused(
    client: tuple[Any, RedisServer], open_store: Callable[..., RedisStore]
) -> None:
    redis, server = client
    open_store(server.url).append([Interaction("u", "a")])
    with pytest.raises(IncompatibleStoreError, match=r"ids of items that are text, and was opened for integer"):
        open_store(server.url, item_kind="integer")
    with pytest.raises(IncompatibleStoreError, match=r"ids of users that are text, and was opened for integer"):
        open_store(server.url, user_kind="integer")
    redis.set("shop:head", "x")
    redis.hset("cart:head", mapping={"application": "another"})
    redis.set("mail:inbox", "x")
    for prefix in ("shop", "cart", "mail"):
        with pytest.raises(IncompatibleStoreError, match=r"another program's.*choose another prefix"):
            open_store(server.url, prefix=prefix)
    assert (redis.get("shop:head"), redis.get("mail:inbox"), redis.exists("mail:head")) == (b"x", b"x", 0)
    redis.hset("twotower:head", "format", "2")
    with pytest.raises(IncompatibleStoreError, match=r"version 2 of the format.*upgrade twotower"):
        open_store(server.url)


def test_what_has_changed_since_it_was_written_is_named(
    client: tuple[Any, RedisServer], open_store: Callable[..., RedisStore]
) -> None:
    redis, server = client
    store = open_store(server.url)
    store.append([Interaction("u", "a", 1.0), Interaction("u", "b", 2.0), Interaction("v", "a")])
    store.put_items([("a", {"x": 1}), ("b", {})])
    (member, _), *_ = redis.zrange("twotower:history:u", 0, -1, withscores=True)
    redis.zincrby("twotower:history:u", 5, member)
    with pytest.raises(CorruptStoreError, match=r"interaction 1 has another place"):
        store.histories(["u"])
    redis.zrem("twotower:history:u", member)
    redis.zadd("twotower:history:u", {member.replace(b'"a"', b'"c"'): 1.0})
    with pytest.raises(CorruptStoreError, match=r"interaction 1 has changed"):
        store.histories(["u"])
    redis.rename("twotower:history:v", "twotower:history:w")
    with pytest.raises(CorruptStoreError, match=r"user 'w' has interaction 3 of another one"):
        store.histories(["w"])
    redis.xdel("twotower:interactions", "2-0")
    with pytest.raises(CorruptStoreError, match=r"interaction 2 is missing"):
        store.interactions()
    redis.xadd("twotower:items", {"r": '0000000000000000 ["c",{}]'}, id="3-0")
    with pytest.raises(CorruptStoreError, match=r"item change 3 has changed"):
        store.item_changes()
    with pytest.raises(CorruptStoreError, match=r"the end of a log is not where its head says"):
        store.put_items([("d", {})])
    with pytest.raises(
        CorruptStoreError, match=r"left with 2 changes of items up to 2 and 3 interactions, and has 3 up to 3-0"
    ):
        open_store(server.url)


def test_a_store_that_is_gone_or_another_one_is_not_written(
    client: tuple[Any, RedisServer], open_store: Callable[..., RedisStore]
) -> None:
    redis, server = client
    store = open_store(server.url)
    store.append([Interaction("u", "a")])
    redis.flushall()
    open_store(server.url)
    for call in (
        lambda: store.append([Interaction("u", "b")]),
        lambda: store.put_items([("a", {})]),
        lambda: store.histories(["u"]),
        store.interactions,
        store.item_changes,
        store.compact_items,
        store.version,
    ):
        with pytest.raises(StoreError, match=r"removed or replaced while it was open"):
            call()
    assert open_store(server.url).version() == 0
    store.close()
    store.close()
    with pytest.raises(StoreError, match=r"this store was closed"):
        store.version()


def test_a_server_that_is_gone_comes_back(start: Start, open_store: Callable[..., RedisStore]) -> None:
    server = start()
    store, patient = open_store(server.url, wait_s=0.2), open_store(server.url, wait_s=30)
    assert store.append([Interaction("u", "a")]) == 1
    server.kill()
    with pytest.raises(StoreBusyError, match=r"can't be reached.*nothing of this call was written; see that it runs"):
        store.append([Interaction("u", "b")])
    with pytest.raises(StoreBusyError, match=r"can't be read: it can't be reached"):
        store.version()
    back = threading.Timer(0.5, server.start)
    back.start()
    assert patient.append([Interaction("u", "c")]) == 2, "it waits for the server"
    back.join()
    assert [entry.item for entry in store.histories(["u"])[0]] == ["a", "c"]
    with pytest.raises(StoreBusyError, match=r"can't be reached"):
        open_store("redis://127.0.0.1:1/0", wait_s=0.1)


def test_a_call_whose_answer_is_lost_is_written_once(
    client: tuple[Any, RedisServer], open_store: Callable[..., RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = pytest.importorskip("redis")
    store = open_store(client[1].url, wait_s=5)
    ask, asked = store._ask, []

    def losing(script: str, keys: list[str], arguments: list[object]) -> Any:
        answer = ask(script, keys, arguments)
        asked.append(keys)
        if len(asked) < 3:
            raise redis.exceptions.ConnectionError("Connection closed by server.")
        return answer

    monkeypatch.setattr(store, "_ask", losing)
    assert store.append([Interaction("u", "a")]) == 1
    assert len(asked) == 3
    asked.clear()
    assert store.put_items([("a", {})]) == 1
    assert (store.last_interaction(), store.last_item_change()) == (1, 1)
    assert 0 < client[0].pttl(asked[0][2]) <= 75_000, "the note of a call does not stay"


def test_a_call_that_may_have_been_written_says_so(start: Start, open_store: Callable[..., RedisStore]) -> None:
    server = start()
    store = open_store(server.url, wait_s=0.3)
    server.pause()
    try:
        with pytest.raises(StoreError, match=r"has not answered in time.*whether this call was written is not known") as found:
            store.append([Interaction("u", "a")])
        assert not isinstance(found.value, StoreBusyError), "that would say that nothing was written"
        with pytest.raises(StoreBusyError, match=r"has not answered in time"):
            store.version()
    finally:
        server.go_on()
    assert store.version() in (0, 1)


def test_a_replica_and_a_full_server_refuse_and_nothing_is_written(
    client: tuple[Any, RedisServer], open_store: Callable[..., RedisStore]
) -> None:
    redis, server = client
    store = open_store(server.url)
    store.append([Interaction("u", "a")])
    store.put_items([("a", {}), ("a", {"x": 1})])
    redis.config_set("maxmemory", "1mb")
    with pytest.raises(StoreError, match=r"its memory is full \(maxmemory\).*nothing of this call was written"):
        store.append([Interaction("u", "b" * 1000), Interaction("v", "b")])
    with pytest.raises(StoreError, match=r"its memory is full"):
        store.put_items([("b", {})])
    assert store.compact_items() == 1, "what makes room is allowed"
    redis.config_set("maxmemory", "0")
    redis.replicaof("127.0.0.1", "1")
    with pytest.raises(StoreError, match=r"read-only replica; name the primary.*nothing of this call was written"):
        store.append([Interaction("u", "b")])
    with pytest.raises(StoreError, match=r"read-only replica; name the primary"):
        open_store(server.url)
    assert [entry.item for entry in store.histories(["u"])[0]] == ["a"]
    redis.replicaof("NO", "ONE")
    assert store.append([Interaction("u", "b")]) == 2
    assert store.item_changes()[0].sequence == 2


def test_passwords_are_asked_for_and_never_shown(start: Start, open_store: Callable[..., RedisStore]) -> None:
    server = start(*DURABLE, "--requirepass", "s3cret-word")
    with pytest.raises(StoreError, match=r"asks for a user and a password|Authentication"):
        open_store(server.url)
    with pytest.raises(StoreError, match=r"refused the user and the password") as found:
        open_store(server.url.replace("//", "//:wr0ng-word@"))
    store = open_store(server.url.replace("//", "//:s3cret-word@"), wait_s=0.1)
    assert store.append([Interaction("u", "a")]) == 1
    server.kill()
    with pytest.raises(StoreError) as gone:
        store.version()
    for text in (str(found.value), str(gone.value), store.name, json.dumps(repr(store))):
        assert "word@" not in text
        assert "wr0ng" not in text
        assert "s3cret" not in text
