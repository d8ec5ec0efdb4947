"""``twotower inspect``: tables of every kind, bundles and runs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def table() -> pl.DataFrame:
    return pl.DataFrame({"name": ["ann", None, "ann", "bob"], "age": [30, 41, 30, 8], "weight": [1.5, 2.0, 2.5, 3.0]})


def write(table: pl.DataFrame, folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        table.write_parquet(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    else:
        table.write_csv(path, separator="\t" if name.endswith(".tsv") else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet"])
def test_tables(name: str, table: pl.DataFrame, call: Call, tmp_path: Path) -> None:
    path = write(table, tmp_path, name)
    status, out, err = call("inspect", path, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert (found["path"], found["rows"]) == (str(path), 4)
    shown = [tuple(column.values()) for column in found["columns"]]
    assert list(found["columns"][0]) == ["name", "type", "missing_fraction", "distinct", "least", "greatest", "example"]
    assert shown == [
        ("name", "String", 0.25, 2, None, None, "ann"),
        ("age", "Int64", 0.0, 3, 8, 41, 30),
        ("weight", "Float64", 0.0, 4, 1.5, 3.0, 1.5),
    ]
    lines = call("inspect", path)[1].splitlines()
    assert lines[0] == f"{path}: 4 rows"
    assert lines[1].split() == ["column", "type", "missing", "distinct", "range", "example"]
    assert lines[2].split() == ["name", "String", "25.0%", "2", "ann"]
    assert lines[3].split() == ["age", "Int64", "0.0%", "3", "8", "to", "41", "30"]


def test_nested_dates_and_columns_of_nothing(call: Call, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "genres": [["a", "b"], ["a"], ["a", "b"]],
            "at": [date(2020, 1, 2), date(2020, 1, 1), None],
            "pair": [{"x": 1}, {"x": 2}, {"x": 1}],
            "none": [None, None, None],
        }
    )
    status, out, _ = call("inspect", write(frame, tmp_path, "t.parquet"), "--json")
    assert status == 0
    columns = {column["name"]: column for column in json.loads(out)["columns"]}
    assert (columns["genres"]["distinct"], columns["genres"]["example"]) == (2, ["a", "b"])
    assert (columns["at"]["least"], columns["at"]["greatest"]) == ("2020-01-01", "2020-01-02")
    assert columns["pair"]["distinct"] == 2
    assert (columns["none"]["missing_fraction"], columns["none"]["example"]) == (1.0, None)
    assert call("inspect", tmp_path / "t.parquet")[0] == 0


def test_another_separator(table: pl.DataFrame, call: Call, tmp_path: Path) -> None:
    table.write_csv(tmp_path / "t.csv", separator=";")
    assert len(json.loads(call("inspect", tmp_path / "t.csv", "--json")[1])["columns"]) == 1
    assert len(json.loads(call("inspect", tmp_path / "t.csv", "--separator", ";", "--json")[1])["columns"]) == 3


def test_runs(call: Call, finished: Path, tmp_path: Path) -> None:
    status, out, _ = call("inspect", finished)
    assert status == 0
    assert out.startswith("small: 16 test rows")
    found = json.loads(call("inspect", finished, "--json")[1])
    assert found["finished"] is True
    assert found["metrics"] == json.loads((finished / "result.json").read_text())["metrics"]
    (tmp_path / "recipe.json").write_text("{}")
    assert json.loads(call("inspect", tmp_path, "--json")[1]) == {"run_dir": str(tmp_path), "finished": False}


def test_bundles(call: Call, finished: Path) -> None:
    bundle = finished / "bundle"
    found = json.loads(call("inspect", bundle, "--json")[1])
    assert found["parts"]["weights"]["size_bytes"] == (bundle / "weights.safetensors").stat().st_size
    status, out, _ = call("inspect", bundle)
    assert status == 0
    assert "every checksum holds" in out.splitlines()[0]
    assert "small: 16 test rows" in out
    assert "trained on: train rows" in out
    for part in found["parts"].values():
        assert part["file"] in out
