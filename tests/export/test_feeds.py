"""Inputs of a tower from raw rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.export.conftest import Plant

from twotower.errors import DataError
from twotower.export import Feeds, Output, RowInput, TowerSignature, VocabularyLookup, export_onnx


def test_every_kind_of_input(plant: Plant, tmp_path: Path) -> None:
    run = plant(
        [
            {"kind": "id", "column": "user"},
            {"kind": "number", "column": "age", "missing": "own"},
            {"kind": "category", "column": "premium", "missing": "own_row"},
            {"kind": "text", "column": "bio", "max_tokens": 2},
            {"kind": "multi_category", "column": "tags"},
            {"kind": "vector", "column": "face", "missing": "zeros"},
            {"kind": "history"},
        ]
    )
    done = export_onnx(run, tmp_path / "out", check_rows=2)
    frame = pl.DataFrame(
        {
            "user": ["u03", "who"],
            "age": [None, 41],
            "premium": [True, None],
            "bio": ["cats, unheard CATS", None],
            "tags": [["b", None, "zz"], None],
            "face": [[1.0, 2.0, 3.0, 4.0], None],
        }
    )
    feeds = Feeds(tmp_path / "out", done.signature.query).of(frame, [["i00", "nothing"], []])
    assert list(feeds) == ["user.row", "age", "premium.row", "bio.rows", "tags.rows", "face", "history.rows"]
    assert feeds["user.row"].tolist() == [4, 0]
    np.testing.assert_array_equal(feeds["age"], [np.nan, 41])
    assert feeds["premium.row"].tolist() == [2, 3]
    words = pl.read_parquet(tmp_path / "out" / "vocabulary" / "bio.parquet")
    cats = int(words.filter(pl.col("value") == "cats")["row"][0])
    assert feeds["bio.rows"].tolist() == [[cats, 0, cats], [-1, -1, -1]]  # the graph reads the first two
    assert feeds["tags.rows"].tolist() == [[2, 0], [-1, -1]]
    np.testing.assert_array_equal(feeds["face"], [[1, 2, 3, 4], [np.nan] * 4])
    assert feeds["history.rows"].shape == (2, 1)
    assert all(values.dtype in (np.float64, np.int64) for values in feeds.values())


def test_a_value_that_must_be_there(tmp_path: Path) -> None:
    pl.DataFrame({"value": ["a"], "row": [1]}).write_parquet(tmp_path / "v.parquet")
    lookup = VocabularyLookup(file="v.parquet", values="text", unknown_row=0)
    entry = RowInput(name="c.row", about="", feature="c", column="c", lookup=lookup, missing_row=None, vocabulary_size=2)
    tower = TowerSignature(file="t", files=(), id_column="c", inputs=(entry,), output=Output(shape=("batch", 1)))
    with pytest.raises(DataError, match="'c' must not be missing; it is in row 1"):
        Feeds(tmp_path, tower).of(pl.DataFrame({"c": ["a", None]}))
