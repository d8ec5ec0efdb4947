"""Several processes on one store: nothing is lost, followers see everything in order, a fork is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twotower.store import LiveStore

WRITER = """
import json, sys, threading, time
from pathlib import Path
from twotower.store import Interaction, LiveStore, live_store

path, process = Path(sys.argv[1]), int(sys.argv[2])
live_store._CHECKPOINT_BYTES = 100_000
store = LiveStore.open(path, item_kind="integer", user_kind="integer", wait_s=60)
print("ready", flush=True)
sys.stdin.readline()
errors, waits = [], []

def write(thread):
    try:
        for n in range(50):
            start = time.perf_counter()
            number = store.append([Interaction(process, thread * 1000 + n, float(n))])
            waits.append(time.perf_counter() - start)
            assert any(entry.item == thread * 1000 + n for entry in store.histories([process])[0])
            store.put_items([(process * 100_000 + thread * 1000 + n, {"n": n})])
    except Exception as error:
        errors.append(repr(error))

def follow():
    after, seen, version = 0, [], -1
    while len(seen) < 400 and not errors:
        now = store.version()
        if now == version:
            continue
        assert now > version
        version = now
        for change in store.item_changes(after, limit=7):
            assert change.sequence == after + 1, (change, after)
            after = change.sequence
            seen.append(change.item)
        if len(seen) < store.last_item_change():
            version = -1
    followed.extend(seen)

followed = []
threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)] + [threading.Thread(target=follow)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
store.close()
print(json.dumps({"errors": errors, "followed": len(set(followed)), "longest": max(waits)}))
"""


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path, open_store: Callable[..., LiveStore]) -> None:
    path = tmp_path / "live.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read() if process.stderr else ""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        found = json.loads(out)
        assert found["errors"] == []
        assert found["followed"] == 400
    store = open_store(path, item_kind="integer", user_kind="integer")
    assert store.last_interaction() == store.last_item_change() == 400
    expected = sorted(thread * 1000 + n for thread in range(4) for n in range(50))
    for history in store.histories([0, 1]):
        assert sorted(int(entry.item) for entry in history) == expected
    assert sorted(int(change.item) for change in store.item_changes()) == sorted(
        p * 100_000 + n for p in (0, 1) for n in expected
    )


FORKED = """
import os, sys
from pathlib import Path
from twotower.errors import StoreError
from twotower.store import Interaction, LiveStore

path = Path(sys.argv[1])

def opened():
    return LiveStore.open(path, item_kind="text", user_kind="text")

def in_child(*calls):
    child = os.fork()
    if child == 0:
        refused = 0
        for call in calls:
            try:
                call()
            except StoreError as error:
                assert "fork" in str(error), error
                refused += 1
        os._exit(refused)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def use():
    with opened() as own:
        own.append([Interaction("child", "x")])

store = opened()
store.append([Interaction("parent", "x")])
calls = [
    lambda: store.append([Interaction("child", "x")]),
    lambda: store.put_items([("x", {})]),
    lambda: store.histories(["parent"]),
    store.interactions,
    store.item_changes,
    store.version,
    store.compact_items,
    store.verify,
    store.facts,
    store.close,
    use,
]
assert in_child(*calls) == len(calls)
store.append([Interaction("parent", "y")])
assert [entry.item for entry in store.histories(["parent"])[0]] == ["x", "y"]
store.close()
assert in_child(use) == 0
with opened() as store:
    assert store.last_interaction() == 3
"""


def test_a_store_does_not_cross_a_fork(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "live.db")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
