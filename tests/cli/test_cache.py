"""``twotower cache``: what it lists, what it deletes, what it leaves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from twotower.columnar import open_table
from twotower.data import TableConfig

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two converted tables, the first not used for ten days."""
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "cache"))
    found = []
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("user,item\nu,1\nv,2\n")
        table = open_table(TableConfig(path=name), noun="log", base_dir=tmp_path, cache_dir=tmp_path / "cache")
        found.append(table.key)
    ten_days_ago = time.time() - 10 * 86_400
    os.utime(tmp_path / "cache" / "columnar" / found[0] / "manifest.json", (ten_days_ago, ten_days_ago))
    return found


def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "none"))
    assert call("cache", "ls") == (0, f"{tmp_path / 'none' / 'columnar'}: 0 tables, 0.0 MB\n", "")
    assert call("cache", "ls", "--json") == (0, "[]\n", "")
    assert call("cache", "rm", "--all")[:2] == (0, "removed: 0 tables, 0.0 MB\n")


def test_ls_shows_every_table_the_last_used_first(keys: list[str], tmp_path: Path, call: Call) -> None:
    status, out, _ = call("cache", "ls", "--json")
    assert status == 0
    tables = json.loads(out)
    assert [table["key"] for table in tables] == [keys[1], keys[0]]
    assert [table["source"] for table in tables] == [str(tmp_path / "b.csv"), str(tmp_path / "a.csv")]
    assert {(table["rows"], table["columns"], table["damage"]) for table in tables} == {(2, 2, None)}
    assert all(table["size_bytes"] > 0 and table["written"] <= time.time() for table in tables)
    assert tables[1]["last_used"] < tables[0]["last_used"] - 9 * 86_400
    lines = call("cache", "ls")[1].splitlines()
    assert lines[0].endswith("columnar: 2 tables, 0.0 MB")
    assert lines[1].split() == ["key", "source", "rows", "columns", "MB", "written", "last", "used"]
    assert lines[2].split()[:4] == [keys[1], str(tmp_path / "b.csv"), "2", "2"]


def test_rm_deletes_what_is_named(keys: list[str], tmp_path: Path, call: Call) -> None:
    status, out, _ = call("cache", "rm", keys[0][:12], "--json")
    assert (status, json.loads(out)) == (0, {"removed": [keys[0]], "in_use": 0})
    assert sorted(path.name for path in (tmp_path / "cache" / "columnar").iterdir()) == [keys[1], f"{keys[1]}.lock"]


def test_rm_deletes_what_is_old(keys: list[str], call: Call) -> None:
    assert call("cache", "rm", "--older-than", "11")[1].startswith("removed: 0 tables")
    assert call("cache", "rm", "--older-than", "9")[1].startswith("removed: 1 table,")
    assert [table["key"] for table in json.loads(call("cache", "ls", "--json")[1])] == [keys[1]]


@pytest.mark.usefixtures("keys")
def test_rm_deletes_everything(tmp_path: Path, call: Call) -> None:
    assert call("cache", "rm", "--all")[:2] == (0, "removed: 2 tables, 0.0 MB\n")
    assert list((tmp_path / "cache" / "columnar").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ls", "--all"], "cache ls takes no key"),
        (["ls", "abc"], "cache ls takes no key"),
        (["rm"], "give one of them"),
        (["rm", "abc", "--all"], "give one of them"),
        (["rm", "zzz"], "'zzz' must be the key of one table of the cache, and fits 0; twotower cache ls"),
        (["rm", ""], "fits 2"),
        (["forget"], "not one of"),
    ],
)
def test_wrong_usage(keys: list[str], arguments: list[str], says: str, call: Call) -> None:
    status, out, err = call("cache", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert len(json.loads(call("cache", "ls", "--json")[1])) == len(keys)
