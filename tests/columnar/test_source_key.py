"""What changes the key of a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from twotower.columnar.source_key import cache_folder, source_key
from twotower.data import TableConfig
from twotower.data.source_files import find_files


def key(path: Path, **spec: Any) -> str:
    return source_key(find_files(path, noun="log"), TableConfig(path=str(path), **spec), noun="log")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 1_000_000)
    os.utime(path, (5, 5))
    return path


def write_at(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"9")
    os.utime(path, (5, 5))


@pytest.mark.parametrize("place", [4, 1_000_000, -2])
def test_another_first_or_last_megabyte_is_another_table(log: Path, place: int) -> None:
    before = key(log)
    assert before == key(log)
    write_at(log, place % log.stat().st_size)
    assert key(log) != before


def test_the_middle_alone_is_not_looked_at(log: Path) -> None:
    before = key(log)
    write_at(log, 2_000_000)
    assert key(log) == before


def test_size_time_and_place_matter(log: Path) -> None:
    before = key(log)
    os.utime(log, (6, 6))
    after = key(log)
    assert after != before
    other = log.rename(log.with_name("other.csv"))
    assert key(other) != after


@pytest.mark.parametrize(
    "spec",
    [
        {"separator": ";"},
        {"header": False, "columns": ("x", "y")},
        {"header": "skip", "columns": ("x", "y")},
        {"types": {"a": "string"}},
        {"quote": None},
        {"index_column": True},
        {"fill": {"a": 0}},
        {"on_bad_rows": "skip"},
    ],
)
def test_every_way_of_reading_is_a_table_of_its_own(log: Path, spec: dict[str, Any]) -> None:
    assert key(log, **spec) != key(log)


def test_one_file_by_two_paths_is_one_table(log: Path) -> None:
    (log.parent / "link").symlink_to(log.parent)
    assert key(log.parent / "link" / "log.csv") == key(log)


def test_where_it_is_kept() -> None:
    assert cache_folder(Path("cache"), "0123") == Path("cache/columnar/0123")
