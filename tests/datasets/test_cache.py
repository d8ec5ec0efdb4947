"""A folder of tables is complete or absent."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from twotower.datasets.cache import load_tables, store_tables

TABLES = {"a": pl.DataFrame({"x": ["é", None], "y": [[1, 2], []]}), "b": pl.DataFrame({"z": [1.5]})}


def test_round_trip_leaves_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "set"
    store_tables(folder, TABLES)
    loaded = load_tables(folder, ("a", "b"))
    assert loaded is not None
    assert all(loaded[name].equals(frame) for name, frame in TABLES.items())
    assert sorted(path.name for path in folder.iterdir()) == ["a.parquet", "b.parquet", "hashes.json"]


def test_absent(tmp_path: Path) -> None:
    assert load_tables(tmp_path / "none", ("a",)) is None


@pytest.mark.parametrize("part", ["a.parquet", "b.parquet", "hashes.json"])
@pytest.mark.parametrize("damage", ["removed", "cut", "swapped"])
def test_damaged_is_absent(tmp_path: Path, part: str, damage: str) -> None:
    store_tables(tmp_path, TABLES)
    path = tmp_path / part
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(b'{"sha256": []}' if part == "hashes.json" else content[:10] + b"?" + content[11:])
    assert load_tables(tmp_path, ("a", "b")) is None


def test_a_table_that_was_never_stored_is_absent(tmp_path: Path) -> None:
    store_tables(tmp_path, {"a": TABLES["a"]})
    TABLES["b"].write_parquet(tmp_path / "b.parquet")
    assert load_tables(tmp_path, ("a", "b")) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_tables(tmp_path, TABLES)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        store_tables(tmp_path, {"a": TABLES["b"], "b": TABLES["a"]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "hashes.json"]
    loaded = load_tables(tmp_path, ("a", "b"))
    assert loaded is not None
    assert loaded["a"].equals(TABLES["a"])
