"""A writer that is killed at any moment loses nothing that was acknowledged and leaves nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# The parent has the store open only while no child runs, so that children are forked from a process without it.
PROGRAM = """
import json, os, random, select, signal, sys, threading, time
from pathlib import Path

from twotower.store import Interaction, LiveStore, live_store

path, kills = Path(sys.argv[1]), int(sys.argv[2])
live_store._CHECKPOINT_BYTES = 100_000  # so that some are killed while the log is copied
chance = random.Random(7)

def opened(verify):
    return LiveStore.open(path, item_kind="text", user_kind="integer", verify=verify)

def write(pipe, kill):
    store = opened(verify=False)

    def one(thread):
        n = 0
        while True:
            key = f"{kill}.{thread}.{n}"
            if thread < 2:
                store.put_items([(key, {"n": n, "filling": "x" * 300}), (key + "!", {"n": n})])
                os.write(pipe, f"i {key}\\n".encode())
            elif thread == 2 and n % 10 == 9:
                store.compact_items()
            elif thread == 2:
                store.put_items([("one", {"n": n})])
                store.remove_items(["other"])
            else:
                store.append([Interaction(thread, key + end, float(n)) for end in "abc"])
                os.write(pipe, f"a {key}\\n".encode())
            n += 1

    threads = [threading.Thread(target=one, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    threads[0].join()

acknowledged, checked = [], 0
for kill in range(kills):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        write(writing, kill)
    os.close(writing)
    told = b""
    try:
        assert select.select([reading], [], [], 60)[0]
        end = time.monotonic() + chance.uniform(0.0, 0.4)
        while (left := end - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0]:
                told += os.read(reading, 65536)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    while rest := os.read(reading, 65536):
        told += rest
    os.close(reading)
    acknowledged += told.decode().splitlines()
    with opened(verify=True) as store:
        items = {item: features for _, item, features in store.item_changes()}
        interactions = store.interactions()
        assert [entry.sequence for entry in interactions] == list(range(1, len(interactions) + 1))
        for entry in interactions[::3]:
            key = entry.item[:-1]
            three = interactions[entry.sequence - 1 : entry.sequence + 2]
            assert [(e.user, e.item, e.time) for e in three] == [(entry.user, key + end, entry.time) for end in "abc"]
        met = {entry.item for entry in interactions}
        by_user = [entry for history in store.histories(range(3, 8)) for entry in history]
        assert sorted(by_user) == interactions
        for key in [item for item in items if item not in ("one", "other") and not item.endswith("!")]:
            n = int(key.split(".")[2])
            assert items[key] == {"n": n, "filling": "x" * 300} and items[key + "!"] == {"n": n}, key
        for line in acknowledged:
            kind, key = line.split()
            assert (key in items) if kind == "i" else (key + "a" in met), line
            checked += 1
print(json.dumps({"acknowledged": len(acknowledged), "checked": checked, "items": len(items), "met": len(met)}))
"""


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_writer_that_is_killed(tmp_path: Path, kills: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "live.db"), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["acknowledged"] >= 20 * kills, found
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["live.db", "live.db-lock"]


MAKER = """
import os, sys
from pathlib import Path

from twotower.bundle import atomic
from twotower.store import LiveStore, file_format

folder = Path(sys.argv[1])

def make(step):
    seen = 0

    def dying(original):
        def wrapped(*arguments):
            nonlocal seen
            seen += 1
            if seen == step:
                os._exit(9)
            return original(*arguments)
        return wrapped

    for module, name in ((atomic, "_sync"), (os, "replace"), (file_format, "write_head"), (file_format, "_fill")):
        setattr(module, name, dying(getattr(module, name)))
    LiveStore.open(folder / "live.db", item_kind="text", user_kind="text").close()
    os._exit(0)

ended = []
for step in range(1, 20):
    child = os.fork()
    if child == 0:
        make(step)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    LiveStore.open(folder / "live.db", item_kind="text", user_kind="text").close()
    if ended[-1] == 0:
        break
    (folder / "live.db").unlink()
print(ended)
"""


def test_making_a_store_that_is_killed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MAKER, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[9, 9, 9, 9, 9, 0]"  # filling, its last row, flush, rename, flush of the folder
