"""What is refused when opening is in test_live_store and test_damage; here, the bytes that others go by."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from twotower.errors import StoreError
from twotower.store.file_format import check_file, make_file


def test_the_header_says_whose_file_it_is(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    make_file(path, item_kind="text", user_kind="integer")
    header = path.read_bytes()[:100]
    assert header[:16] == b"SQLite format 3\0"
    assert header[68:72] == b"2TWR"
    assert int.from_bytes(header[60:64], "big") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["live.db"]


def test_what_was_made_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    make_file(path, item_kind="text", user_kind="integer")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        head = check_file(connection, path, item_kind="text", user_kind="integer")
    assert (head.item_kind, head.user_kind) == ("text", "integer")


def test_where_it_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "live.db").mkdir()
    with pytest.raises(StoreError, match="is a folder, and a file was to be written there"):
        make_file(tmp_path / "live.db", item_kind="text", user_kind="text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["live.db"]


def test_nothing_is_left_when_making_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(connection: object, head: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = 13
        raise error

    monkeypatch.setattr("twotower.store.file_format.write_head", full)
    with pytest.raises(StoreError, match="the disk is full"):
        make_file(tmp_path / "live.db", item_kind="text", user_kind="text")
    assert list(tmp_path.iterdir()) == []
