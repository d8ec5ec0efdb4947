"""Files of vocabularies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from twotower.export.vocabularies import Vocabularies


def test_what_is_equal_is_there_once(tmp_path: Path) -> None:
    vocabularies = Vocabularies(tmp_path)
    first = vocabularies.put("city", pl.Series("c", ["a", "b"]), np.array([1, 2]))
    assert vocabularies.put("town", pl.Series(["a", "b"]), np.array([1, 2], dtype=np.int32)) == first
    assert vocabularies.put("level", pl.Series([1, 2]), np.array([1, 2])) != first
    assert vocabularies.put("other", pl.Series(["a", "b"]), np.array([2, 1])) != first
    frame = pl.read_parquet(tmp_path / first)
    assert frame.to_dict(as_series=False) == {"value": ["a", "b"], "row": [1, 2]}
    assert frame.schema == {"value": pl.String, "row": pl.Int64}


def test_names_of_features_become_names_of_files(tmp_path: Path) -> None:
    vocabularies = Vocabularies(tmp_path)
    names = [
        vocabularies.put(feature, pl.Series([feature]), np.array([1]))
        for feature in ("../up", "a/b", "a b", "A_B", "größe", "", "x" * 300, "..")
    ]
    assert names[:4] == [
        "vocabulary/up.parquet",
        "vocabulary/a_b.parquet",
        "vocabulary/a_b_2.parquet",
        "vocabulary/A_B_3.parquet",
    ]
    assert len({name.lower() for name in names}) == len(names)
    assert all((tmp_path / name).is_file() for name in names)
    assert {path.name for path in tmp_path.iterdir()} == {"vocabulary"}


def test_other_files(tmp_path: Path) -> None:
    vocabularies = Vocabularies(tmp_path)
    assert vocabularies.put_text("title", ".tokenizer.json", "ö") == "vocabulary/title.tokenizer.json"
    assert (tmp_path / "vocabulary/title.tokenizer.json").read_text(encoding="utf-8") == "ö"
