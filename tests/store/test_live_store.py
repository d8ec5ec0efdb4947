"""What a store in a file does beyond the contract: it lasts, it is shared, and it says clearly what it can't do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twotower.errors import CorruptStoreError, IncompatibleStoreError, StoreBusyError, StoreError
from twotower.store import Interaction, LiveStore, MemoryStore, live_store
from twotower.store.write_lock import write_lock

OpenStore = Callable[..., LiveStore]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.put_items([("a", {"x": 1})])
    store.append([Interaction("u", "a", 5.0)])
    identity = store.identity
    store.close()
    assert names(tmp_path) == ["live.db", "live.db-lock"]
    store = open_store()
    assert store.identity == identity
    assert [tuple(change) for change in store.item_changes()] == [(1, "a", {"x": 1})]
    assert store.histories(["u"]) == [[(1, "u", "a", 5.0)]]
    assert store.facts()[:4] == (1, 1, 1, 1)
    assert store.facts().file_bytes == (tmp_path / "live.db").stat().st_size > 0
    assert (store.path, store.item_kind, store.user_kind) == (tmp_path / "live.db", "text", "text")


def test_a_kind_that_is_none_makes_no_store(tmp_path: Path, open_store: OpenStore) -> None:
    with pytest.raises(ValueError, match="user_kind must be"):
        open_store(user_kind="int")
    with pytest.raises(ValueError, match="item_kind must be"):
        MemoryStore(item_kind="int", user_kind="text")  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_two_stores_are_told_apart(tmp_path: Path, open_store: OpenStore) -> None:
    assert open_store(tmp_path / "a.db").identity != open_store(tmp_path / "b.db").identity


def test_a_commit_is_flushed_and_logs_are_copied_by_us_alone(open_store: OpenStore) -> None:
    store = open_store()

    def setting(name: str) -> Any:
        return store._writer.execute(f"PRAGMA {name}").fetchone()[0]

    assert setting("journal_mode") == "wal"
    assert setting("synchronous") == 2
    assert setting("wal_autocheckpoint") == 0


def test_two_objects_on_one_file_see_each_other(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    version = other.version()
    one.put_items([("a", {})])
    assert other.version() == one.version() > version
    assert other.append([Interaction("u", "a")]) == one.last_interaction() == 1
    one.close()
    assert other.append([Interaction("u", "a")]) == 2


def test_a_link_leads_to_the_same_store(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.put_items([("a", {})])
    (tmp_path / "link.db").symlink_to("live.db")
    assert open_store(tmp_path / "link.db").last_item_change() == 1


def test_a_name_with_any_character(tmp_path: Path, open_store: OpenStore) -> None:
    for name in ("a b?c#d%20e&mode=ro.db", "ü.db", os.fsdecode(b"\xff.db")):
        store = open_store(tmp_path / name)
        store.put_items([("a", {})])
        assert name in names(tmp_path)


def test_where_no_store_can_be(tmp_path: Path, open_store: OpenStore) -> None:
    with pytest.raises(StoreError, match="is a folder, and a live store is a file; choose another path, such as"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match=r"there is no folder .*none; make it first"):
        open_store(tmp_path / "none" / "live.db")
    (tmp_path / "file").write_text("x" * 5000)
    with pytest.raises(StoreError, match="there is no folder"):
        open_store(tmp_path / "file" / "live.db")
    with pytest.raises(CorruptStoreError, match="is not a live store of twotower, or its beginning is damaged"):
        open_store(tmp_path / "file")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="is empty, and not a live store"):
        open_store(tmp_path / "empty.db")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="is not a plain file"):
        open_store(tmp_path / "pipe")


READ_ONLY = """
import os, sys
from pathlib import Path
from twotower.errors import StoreError
from twotower.store import LiveStore

path = Path(sys.argv[1])
LiveStore.open(path, item_kind="text", user_kind="text").close()
lock = path.with_name("live.db-lock")
path.chmod(0o444)
lock.chmod(0o666)
path.parent.chmod(0o777)
if os.getuid() == 0:
    for what in (path.parent, path, lock):
        os.chown(what, 65534, 65534)
    os.setuid(65534)  # root may write everywhere
for step, what in enumerate((path, path, path.with_name("new.db"))):
    if step == 1:
        lock.chmod(0o444)
        path.parent.chmod(0o555)
    try:
        LiveStore.open(what, item_kind="text", user_kind="text")
    except StoreError as error:
        print(error)
"""


def test_what_must_not_be_written_is_said() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's folders are closed to other users
        path = Path(folder) / "live.db"
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)], capture_output=True, text=True, check=False, timeout=100
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout
    assert lines[0].endswith("live.db is read-only; check the permissions")
    assert all("-lock can't be opened: Permission denied" in line and "check" in line for line in lines[1:]), lines


def test_a_checkpoint_keeps_away_from_other_writers(open_store: OpenStore) -> None:
    store = open_store()
    with write_lock(store.path, 0), pytest.raises(StoreBusyError):
        store._checkpoint()


def test_another_programs_database_is_let_be(tmp_path: Path, open_store: OpenStore) -> None:
    path = tmp_path / "live.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(IncompatibleStoreError, match="is another program's database"):
        open_store()
    assert path.read_bytes() == before


def test_a_newer_format_and_other_kinds_are_refused(tmp_path: Path, open_store: OpenStore) -> None:
    open_store(item_kind="integer").close()
    with pytest.raises(IncompatibleStoreError, match="has ids of items that are integer, and was opened for text"):
        open_store(item_kind="text")
    with pytest.raises(IncompatibleStoreError, match="has ids of users that are text, and was opened for integer"):
        open_store(item_kind="integer", user_kind="integer")
    with contextlib.closing(sqlite3.connect(tmp_path / "live.db")) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(
        IncompatibleStoreError, match="is in version 2 of the format, and this twotower reads version 1: upgrade"
    ):
        open_store(item_kind="integer")


def test_a_log_whose_file_is_gone_is_not_given_to_another_one(tmp_path: Path, open_store: OpenStore) -> None:
    (tmp_path / "live.db-wal").write_bytes(b"x" * 5000)
    with pytest.raises(CorruptStoreError, match="is not there, but its write-ahead log is; put the file back"):
        open_store()
    assert names(tmp_path) == ["live.db-lock", "live.db-wal"]


def test_somebody_else_who_writes_for_too_long(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store(wait_s=0.1)
    with write_lock(store.path, 0), pytest.raises(StoreBusyError, match="try again"):
        store.append([Interaction("u", "a")])
    # a program that knows SQLite's locks and not ours
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match=r"database is locked.*nothing of this call was written; try again"):
            store.put_items([("a", {})])
        assert store.histories(["u"]) == [[]], "reading waits for nobody"
    assert (store.version(), store.append([Interaction("u", "a")])) == (0, 1)


def test_a_file_that_was_removed_or_replaced_is_noticed(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.append([Interaction("u", "a")])
    (tmp_path / "live.db").rename(tmp_path / "moved.db")
    with pytest.raises(StoreError, match="was removed or replaced while it was open; nothing of this call was written"):
        store.append([Interaction("u", "a")])
    (tmp_path / "live.db").write_bytes(b"x")
    with pytest.raises(StoreError, match="was removed or replaced"):
        store.append([Interaction("u", "a")])


def test_a_closed_store_says_so(open_store: OpenStore) -> None:
    store = open_store()
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.append([Interaction("u", "a")]),
        store.version,
        lambda: store.histories(["u"]),
        lambda: store.put_items([("a", {})]),
        store.compact_items,
    ]
    for call in calls:
        with pytest.raises(StoreError, match="this store was closed; open it again"):
            call()


def test_closing_while_others_use_it(open_store: OpenStore) -> None:
    store = open_store()
    done: list[int] = []
    errors: list[Exception] = []

    def work(thread: int) -> None:
        try:
            while True:
                done.append(store.append([Interaction(f"u{thread}", "a")]))
                store.histories([f"u{thread}"])
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    while len(done) < 30:
        time.sleep(0.001)
    closers = [threading.Thread(target=store.close) for _ in range(3)]
    for thread in closers:
        thread.start()
    for thread in [*threads, *closers]:
        thread.join()
    assert len(errors) == 6
    assert all("closed" in str(error) for error in errors), errors
    assert open_store().last_interaction() == max(done) == len(done)


FULL = """
import resource, sys
from pathlib import Path
from twotower.errors import StoreError
from twotower.store import Interaction, LiveStore

with LiveStore.open(Path(sys.argv[1]), item_kind="text", user_kind="integer") as store:
    acknowledged = 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        while True:
            acknowledged = store.append([Interaction(1, "x" * 1000, float(acknowledged)), Interaction(2, "y")])
    except StoreError as error:
        assert "nothing of this call was written" in str(error), error
        assert "disk" in str(error), error
    assert acknowledged > 20
    assert store.last_interaction() == acknowledged
    assert len(store.histories([1])[0]) == acknowledged // 2
    try:
        store.append([Interaction(1, "x" * 1000, 0.0)] * 100)
    except StoreError:
        pass
    assert store.last_interaction() == acknowledged
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.append([Interaction(2, "after")]) == acknowledged + 1
with LiveStore.open(Path(sys.argv[1]), item_kind="text", user_kind="integer") as store:
    assert store.last_interaction() == acknowledged + 1
"""


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "live.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_the_log_stays_small_under_readers(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_store, "_CHECKPOINT_BYTES", 200_000)
    store = open_store()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            store.histories(["u", "v"], latest=50)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    largest = 0
    try:
        for n in range(600):
            store.append([Interaction("u", f"item {n}", float(n))])
            largest = max(largest, store.facts().log_bytes)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert largest < 3_000_000
    assert store.facts().file_bytes > 40_000, "what was logged is copied into the file"


def test_one_who_reads_for_long_lets_the_log_grow_and_no_longer(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_store, "_CHECKPOINT_BYTES", 200_000)
    store = open_store()
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM head").fetchall()
        for n in range(200):
            store.append([Interaction("u", f"item {n}", float(n))])
        assert store.facts().log_bytes > 1_000_000
        reader.execute("COMMIT")
    for n in range(200):
        store.append([Interaction("u", f"item {n}", float(n))])
    assert store.facts().log_bytes < 500_000


def test_compaction_gives_room_back_to_the_file(open_store: OpenStore) -> None:
    store = open_store()
    filling = {"text": "x" * 500}
    sizes = []
    for _ in range(4):
        for _ in range(5):
            store.put_items([(f"item {n}", filling) for n in range(200)])
        assert store.compact_items() in (800, 1000)
        assert store.facts().item_changes == 200
        live_store.LiveStore._checkpoint(store)
        sizes.append(store.facts().file_bytes)
    assert sizes[-1] <= sizes[1] * 1.1
    store.verify()


def test_compaction_in_several_steps(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_store, "_COMPACTED_AT_ONCE", 7)
    store = open_store()
    store.put_items([(f"item {n % 5}", {"n": n}) for n in range(50)])
    assert store.compact_items() == 45
    assert [change.sequence for change in store.item_changes()] == [46, 47, 48, 49, 50]
    store.verify()


def test_many_threads_share_flushes(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    commits = []
    original = LiveStore._refuse_replaced

    def slowly(self: LiveStore) -> None:
        commits.append(1)
        time.sleep(0.003)
        original(self)

    monkeypatch.setattr(LiveStore, "_refuse_replaced", slowly)
    threads = [
        threading.Thread(target=lambda t=t: [store.append([Interaction(f"u{t}", "a", float(n))]) for n in range(20)])
        for t in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.last_interaction() == 320
    assert len(commits) < 120


def test_a_reader_that_failed_is_not_lent_again(open_store: OpenStore) -> None:
    store = open_store()
    store.append([Interaction("u", "a")])
    with pytest.raises(StoreError, match="no such table"), store._readers.lend() as connection:
        connection.execute("SELECT * FROM none")
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    assert len(store.histories(["u"])[0]) == 1
