"""What a cache holds, and what is taken from it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from twotower.columnar import open_table
from twotower.columnar.cached_tables import list_tables, old_tables, remove_tables
from twotower.data import TableConfig
from twotower.errors import ConfigError


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "log.csv").write_text("a\nx\n")
    return open_table(TableConfig(path="log.csv"), noun="log", base_dir=tmp_path, cache_dir=tmp_path).key


def test_a_damaged_table_is_listed_with_what_is_wrong(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "columnar" / key
    (folder / "0000.values").unlink()
    assert list_tables(tmp_path)[0].damage == "0000.values of column 'a' is missing"
    (folder / "manifest.json").unlink()
    (table,) = list_tables(tmp_path)
    assert (table.key, table.source, table.damage) == (key, None, "its manifest is missing")
    assert [removed.key for removed in remove_tables(tmp_path, [key])] == [key]
    assert list_tables(tmp_path) == []


def test_a_table_that_is_being_converted_is_left_alone(tmp_path: Path, key: str) -> None:
    with (tmp_path / "columnar" / f"{key}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_tables(tmp_path, [key]) == []
    assert [table.key for table in remove_tables(tmp_path, [key])] == [key]


def test_what_killed_conversions_left_goes_too(tmp_path: Path, key: str) -> None:
    left = tmp_path / "columnar" / ".0123.77-0123abcd.tmp"
    left.mkdir()
    assert [table.key for table in list_tables(tmp_path)] == [key]
    remove_tables(tmp_path, [])
    assert not left.exists()


def test_a_wrong_key_deletes_nothing(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="fits 0"):
        remove_tables(tmp_path, [key, "zz"])
    assert len(list_tables(tmp_path)) == 1


def test_what_was_just_used_is_not_old(tmp_path: Path, key: str) -> None:
    assert old_tables(tmp_path, 1) == []
    assert old_tables(tmp_path, 0) == [key]


def test_what_is_not_ours_is_neither_listed_nor_deleted(tmp_path: Path, key: str) -> None:
    other = tmp_path / "columnar" / "my-study"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    assert [table.key for table in list_tables(tmp_path)] == [key]
    with pytest.raises(ConfigError, match="fits 0"):
        remove_tables(tmp_path, ["my-study"])
    remove_tables(tmp_path, [table.key for table in list_tables(tmp_path)])
    assert (other / "notes.txt").exists()
