"""Comparing an export with its bundle finds what differs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.export.conftest import ITEMS, USERS, Plant

from twotower.errors import ExportError
from twotower.export import export_onnx
from twotower.export.parity import check_candidates, check_queries
from twotower.recommender import Recommender

FEATURES = [
    {"kind": "id", "column": "user"},
    {"kind": "category", "column": "city", "missing": "own_row"},
    {"kind": "number", "column": "age", "missing": "own"},
    {"kind": "history", "name": "past"},
]
CITY, PAST = "vocabulary/city.parquet", "vocabulary/past.parquet"


def test_what_is_compared(plant: Plant, tmp_path: Path) -> None:
    run = plant(FEATURES)
    done = export_onnx(run, tmp_path / "out")
    recommender = Recommender.load(run)
    queries = check_queries(tmp_path / "out", done.signature.query, recommender, rows=1000, limit=1e-4)
    # all users; and of all users: three histories, an id, a city and a number never seen or missing, all of these
    assert queries.rows == USERS * (1 + 3 + 6 + 2)
    assert 0 < queries.largest_error < 1e-5
    few = check_queries(tmp_path / "out", done.signature.query, recommender, rows=2, limit=1e-4)
    assert few.rows == 2 + 2 * 11
    candidates = check_candidates(tmp_path / "out", done.signature.candidate, recommender, rows=1000, limit=1e-4)
    assert candidates.rows == ITEMS * (1 + 2 + 2)


@pytest.mark.parametrize(
    ("file", "value", "about"),
    [(CITY, "Rome", "known users"), ("vocabulary/user.parquet", "u07", "known users"), (PAST, "i03", "known users")],
)
def test_a_vocabulary_that_is_wrong_is_found(plant: Plant, tmp_path: Path, file: str, value: str, about: str) -> None:
    run, out = plant(FEATURES), tmp_path / "out"
    done = export_onnx(run, out)
    table = pl.read_parquet(out / file)
    wrong = table.with_columns(row=pl.when(pl.col("value") == value).then(1 + pl.col("row") % 2).otherwise(pl.col("row")))
    assert not wrong.equals(table)
    wrong.write_parquet(out / file)
    with pytest.raises(ExportError, match=f"query tower of the export differs .* for {about}, such as"):
        check_queries(out, done.signature.query, Recommender.load(run), rows=1000, limit=1e-4)


def test_a_rule_for_what_is_missing_that_is_wrong_is_found(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(FEATURES), tmp_path / "out"
    query = export_onnx(run, out).signature.query
    inputs = [entry.model_copy(update={"missing_row": 0}) if entry.name == "city.row" else entry for entry in query.inputs]
    with pytest.raises(ExportError, match="differs"):
        check_queries(out, query.model_copy(update={"inputs": tuple(inputs)}), Recommender.load(run), rows=1, limit=1e-4)


def test_a_tower_of_another_bundle_is_found(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(FEATURES), tmp_path / "out"
    done = export_onnx(run, out)
    shutil.rmtree(run)
    other = Recommender.load(plant(FEATURES, seed=1))
    with pytest.raises(ExportError, match=r"candidate tower .* for items of the catalogue"):
        check_candidates(out, done.signature.candidate, other, rows=10, limit=1e-4)


def test_a_vector_of_nan_is_a_difference(plant: Plant, tmp_path: Path) -> None:
    run, out = plant(FEATURES), tmp_path / "out"
    query = export_onnx(run, out).signature.query
    table = pl.read_parquet(out / "vocabulary/user.parquet")
    table.with_columns(row=pl.lit(-1, pl.Int64)).write_parquet(out / "vocabulary/user.parquet")
    with pytest.raises(ExportError, match="by inf"):
        check_queries(out, query, Recommender.load(run), rows=10, limit=1e-4)


def test_large_numbers_may_differ_by_more(plant: Plant, tmp_path: Path) -> None:
    run = plant(
        [{"kind": "id", "column": "user"}, {"kind": "number", "column": "income", "standardise": False, "missing": "own"}]
    )
    done = export_onnx(run, tmp_path / "out")
    largest = np.abs(Recommender.load(run).encode_queries(["u00", "u01", "u02", "u03"]).numpy()).max()
    assert largest > 1000
    assert done.signature.query.largest_error < 1e-5 * 1e6
