"""A byte that changed is refused, named, or has no effect: what is read is what was written."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twotower.errors import CorruptStoreError, StoreError
from twotower.store import Interaction, LiveStore, live_store
from twotower.store.damage import refuse_damage

USERS = [f"user {n}" for n in range(25)]


def fill(store: LiveStore, calls: int, seed: int = 3) -> None:
    draw = random.Random(seed)
    for call in range(calls):
        way = draw.random()
        if way < 0.3:
            store.put_items([(f"item {draw.randrange(60)}", {"call": call, "text": "ä" * draw.randrange(60)})])
        elif way < 0.4:
            store.remove_items([f"item {draw.randrange(60)}"])
        elif way < 0.42:
            store.compact_items()
        else:
            times = [draw.choice((None, float(draw.randrange(50)))) for _ in range(draw.randrange(1, 6))]
            store.append([Interaction(draw.choice(USERS), f"item {draw.randrange(60)}", time) for time in times])


def content(path: Path, *, verify: bool = True) -> dict[str, Any]:
    with LiveStore.open(path, item_kind="text", user_kind="text", verify=verify) as store:
        return {
            "items": store.item_changes(),
            "interactions": store.interactions(),
            "histories": store.histories(USERS),
            "latest": store.histories(USERS, latest=3),
            "facts": store.facts()[:4],
            "identity": store.identity,
        }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "live.db"
    with LiveStore.open(path, item_kind="text", user_kind="text") as store:
        fill(store, 250)
        store.put_items([("large", {"text": "x" * 20_000})])  # over several pages
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith("-wal")] == []
    return path


def positions(size: int, several: int) -> Iterator[int]:
    yield from range(0, 100)  # the header of the file
    draw = random.Random(11)
    for start in range(0, size, 4096):  # the headers of pages, and where their cells are
        yield from range(start, start + 40, 3)
    yield from (draw.randrange(size) for _ in range(several))


@pytest.mark.parametrize("several", [300, pytest.param(12_000, marks=pytest.mark.slow)])
def test_a_byte_that_changed_is_noticed_or_harmless(written: Path, tmp_path: Path, several: int) -> None:
    expected = content(written)
    good = written.read_bytes()
    assert len(good) > 15 * 4096
    path = tmp_path / "live.db"
    draw = random.Random(5)
    refused = named = harmless = 0
    for position in positions(len(good), several):
        mask = draw.choice((1, 2, 4, 8, 16, 32, 64, 128, 255))
        for beside in tmp_path.iterdir():
            beside.unlink()
        path.write_bytes(good[:position] + bytes([good[position] ^ mask]) + good[position + 1 :])
        try:
            found = content(path)
        except StoreError as error:
            named += str(path) in str(error)
            refused += 1
            continue
        assert found == expected, f"byte {position} ^ {mask} changed what is read, and nobody noticed"
        harmless += 1
    assert refused == named > 150
    assert harmless > 20


@pytest.mark.parametrize(
    ("statement", "read", "named"),
    [
        (
            "UPDATE item_changes SET features = '{}' WHERE sequence = (SELECT max(sequence) FROM item_changes)",
            "items",
            "item change",
        ),
        ("UPDATE interactions SET item = 'x' WHERE sequence = 9", "interactions", "interaction 9 "),
        ("UPDATE interactions SET time = 3.5 WHERE sequence = 9", "interactions", "interaction 9 "),
        ("UPDATE interactions SET at = 3.5 WHERE sequence = 9", "histories", "interaction 9 "),
        ("UPDATE interactions SET at = 'x' WHERE sequence = 9", "histories", "interaction 9 "),
        ("UPDATE interactions SET user = 'user 9' WHERE sequence = 9", "histories", "interaction 9 "),
        ("UPDATE interactions SET user = x'00' WHERE sequence = 9", "interactions", "interaction 9 "),
        ("UPDATE interactions SET checksum = 0 WHERE sequence = 9", "histories", "interaction 9 "),
    ],
)
def test_a_record_that_changed_is_named_when_it_is_read(
    written: Path, tmp_path: Path, statement: str, read: str, named: str
) -> None:
    path = tmp_path / "live.db"
    shutil.copy(written, path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1
    with LiveStore.open(path, item_kind="text", user_kind="text", verify=False) as store:
        reads: dict[str, Callable[[], object]] = {
            "items": store.item_changes,
            "interactions": store.interactions,
            "histories": lambda: store.histories(USERS),
        }
        with pytest.raises(CorruptStoreError, match=f"{named}.*restore it from a backup") as caught:
            reads[read]()
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM interactions WHERE sequence = (SELECT max(sequence) FROM interactions)",
        "DELETE FROM interactions WHERE sequence = 9",
        "DELETE FROM item_changes WHERE sequence = (SELECT min(sequence) FROM item_changes)",
        "INSERT INTO interactions SELECT max(sequence) + 1, user, item, time, at, checksum FROM interactions",
        "UPDATE interactions SET checksum = checksum + 1 WHERE sequence = 9",
        "UPDATE head SET interactions_count = interactions_count + 1",
        "UPDATE head SET identity = 'other'",
        "DELETE FROM head",
        "DROP INDEX interactions_by_user",
        "CREATE TRIGGER more AFTER INSERT ON interactions BEGIN DELETE FROM item_changes; END",
    ],
)
def test_what_is_whole_by_itself_is_held_to_the_rest(written: Path, tmp_path: Path, statement: str) -> None:
    path = tmp_path / "live.db"
    shutil.copy(written, path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
    with pytest.raises(CorruptStoreError, match=r"live\.db is damaged"):
        content(path)


def test_a_whole_file_is_let_be(written: Path) -> None:
    refuse_damage(written, 1.0)


def test_a_store_is_verified_when_asked(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    shutil.copy(written, path)
    with LiveStore.open(path, item_kind="text", user_kind="text") as store:
        store.verify()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM interactions WHERE sequence = 9")
        with pytest.raises(CorruptStoreError, match="was left with"):
            store.verify()


def steps(path: Path, calls: int) -> list[dict[str, Any]]:
    """Writes, and what there was to read after each of them; leaves the write-ahead log where it is."""
    found = []
    with LiveStore.open(path, item_kind="text", user_kind="text") as store:
        for seed in range(calls):
            found.append(content(path, verify=False))
            fill(store, 1, seed)
        found.append(content(path, verify=False))
        # copied by another process: closing the file in this one would drop SQLite's locks
        for name in ("live.db", "live.db-wal"):
            subprocess.run(["cp", path.with_name(name), path.with_name(f"copy of {name}")], check=True)
    return found


@pytest.mark.parametrize("way", ["cut", "changed"])
def test_a_torn_log_gives_what_there_was_at_some_moment(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_store, "_CHECKPOINT_BYTES", 10**9)
    (tmp_path / "a").mkdir()
    moments = steps(tmp_path / "a" / "live.db", 40)
    file = (tmp_path / "a" / "copy of live.db").read_bytes()
    log = (tmp_path / "a" / "copy of live.db-wal").read_bytes()
    assert len(log) > 40 * 4096
    path = tmp_path / "b" / "live.db"
    path.parent.mkdir()
    draw = random.Random(2)
    seen = set()
    for position in [0, 1, 31, 32, 33, 32 + 24, 32 + 24 + 4096, len(log) - 1, *(draw.randrange(len(log)) for _ in range(60))]:
        for beside in path.parent.iterdir():
            beside.unlink()
        path.write_bytes(file)
        torn = log[:position] if way == "cut" else log[:position] + bytes([log[position] ^ 1]) + log[position + 1 :]
        path.with_name("live.db-wal").write_bytes(torn)
        found = content(path)
        assert found in moments
        seen.add(moments.index(found))
        with LiveStore.open(path, item_kind="text", user_kind="text") as store:
            fill(store, 5)
            store.verify()
    assert len(seen) > 15
    assert max(seen) < len(moments) - 1 or way == "changed"


def test_a_log_that_was_copied_in_part_and_cut_is_a_moment_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that a reader kept from its end leaves newer pages in the file than a cut log has."""
    monkeypatch.setattr(live_store, "_CHECKPOINT_BYTES", 10**9)
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "live.db"
    with LiveStore.open(path, item_kind="text", user_kind="text") as store:
        moments = []
        for seed in range(30):
            moments.append(content(path, verify=False))
            fill(store, 1, seed)
        store._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        moments.append(content(path, verify=False))
        for name in ("live.db", "live.db-wal"):
            subprocess.run(["cp", path.with_name(name), path.with_name(f"copy of {name}")], check=True)
    file = (tmp_path / "a" / "copy of live.db").read_bytes()
    log = (tmp_path / "a" / "copy of live.db-wal").read_bytes()
    torn = tmp_path / "b" / "live.db"
    torn.parent.mkdir()
    draw = random.Random(2)
    refused = 0
    for position in [0, 40, len(log), *(draw.randrange(len(log)) for _ in range(40))]:
        for beside in torn.parent.iterdir():
            beside.unlink()
        torn.write_bytes(file)
        torn.with_name("live.db-wal").write_bytes(log[:position])
        try:
            assert content(torn) in moments
        except CorruptStoreError:
            refused += 1
    assert 0 < refused < 40
