"""What the signature says of features that are looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.export.graph import Graph
from twotower.export.raw_columns import RawColumns
from twotower.export.row_features import encode_history, encode_lists, encode_single
from twotower.export.vocabularies import Vocabularies
from twotower.preprocessing import (
    CategoryFeature,
    FillCategory,
    HistoryFeature,
    IdFeature,
    MultiCategoryFeature,
    TextFeature,
)
from twotower.preprocessing.id import hash_rows

CITIES = pl.Series(["Oslo", "Rome", "Rome", "Rome"])


def said(tmp_path: Path, feature: Any, column: pl.Series, stand_ins: dict[str, object] | None = None) -> dict[str, Any]:
    raw, vocabularies = RawColumns(Graph("g", opset=17), stand_ins or {}), Vocabularies(tmp_path)
    encode = encode_lists if feature.kind in ("text", "multi_category") else encode_single
    encode(raw, feature.fit(column), vocabularies)
    (entry,) = raw.inputs()
    return entry.model_dump(mode="json")


def table(tmp_path: Path, entry: dict[str, Any]) -> dict[Any, int]:
    frame = pl.read_parquet(tmp_path / entry["lookup"]["file"])
    return dict(zip(frame["value"], frame["row"], strict=True))


@pytest.mark.parametrize(
    ("missing", "stand_in", "expected"),
    [
        ("error", None, None),
        ("error", "Rome", 2),
        ("error", "Bonn", 0),
        ("own_row", None, 3),
        (FillCategory(fill="Oslo"), None, 1),
        (FillCategory(fill="Bonn"), None, 0),
        ("own_row", "Rome", 2),  # another feature of the column is strict, and a value is put there before all features
    ],
)
def test_the_row_of_a_missing_category(tmp_path: Path, missing: Any, stand_in: str | None, expected: int | None) -> None:
    stand_ins: dict[str, object] = {} if stand_in is None else {"city": stand_in}
    entry = said(tmp_path, CategoryFeature(column="city", missing=missing), CITIES, stand_ins)
    assert entry["missing_row"] == expected
    assert table(tmp_path, entry) == {"Oslo": 1, "Rome": 2}
    assert entry["lookup"]["unknown_row"] == 0
    assert entry["vocabulary_size"] == 3 + (missing == "own_row")


def test_an_id(tmp_path: Path) -> None:
    entry = said(tmp_path, IdFeature(column="city", name="town", min_count=2), CITIES)
    assert (entry["name"], entry["column"], entry["missing_row"]) == ("town.row", "city", 0)
    assert entry["about"] == "the row of city; 0 where it is missing"
    assert table(tmp_path, entry) == {"Rome": 1}


def test_an_id_by_hash_has_no_table(tmp_path: Path) -> None:
    entry = said(tmp_path, IdFeature(column="city", hash_buckets=9), CITIES)
    assert entry["lookup"] == {
        "kind": "hash",
        "algorithm": "blake2b",
        "digest_bytes": 8,
        "byte_order": "little",
        "buckets": 9,
        "first_row": 1,
    }
    assert list(tmp_path.iterdir()) == []


def test_ids_of_a_tail_stand_in_the_table(tmp_path: Path) -> None:
    entry = said(tmp_path, IdFeature(column="city", min_count=2, tail_buckets=5), CITIES)
    assert table(tmp_path, entry) == {"Rome": 1, "Oslo": 1 + int(hash_rows(pl.Series(["Oslo"]), 5)[0])}


def test_a_part_and_integers(tmp_path: Path) -> None:
    entry = said(
        tmp_path, CategoryFeature(column="c", separator=":", part=1, missing="own_row"), pl.Series(["a:b", "a:c", "x"])
    )
    assert entry["split"] == {"kind": "part", "separator": ":", "part": 1}
    assert table(tmp_path, entry) == {"b": 1, "c": 2}
    (tmp_path / "other").mkdir()
    entry = said(tmp_path / "other", CategoryFeature(column="c"), pl.Series([70, 7]))
    assert entry["lookup"]["values"] == "integer"
    assert table(tmp_path / "other", entry) == {7: 1, 70: 2}


def test_lists_and_texts(tmp_path: Path) -> None:
    entry = said(tmp_path, MultiCategoryFeature(column="g", separator="|", max_values=4), pl.Series(["a|b"]))
    assert (entry["split"], entry["max_length"], entry["reads"]) == ({"kind": "separator", "separator": "|"}, 4, "first")
    assert entry["shape"] == ["batch", "g_length"]
    entry = said(tmp_path, TextFeature(column="t", max_tokens=3), pl.Series(["Red, red door"]))
    assert entry["split"]["kind"] == "text"
    assert (tmp_path / entry["split"]["tokenizer"]).is_file()
    assert (entry["split"]["lowercase"], entry["split"]["separator"]) == (True, None)
    assert table(tmp_path, entry) == {"red": 1, "door": 2}
    plain = TextFeature(column="t", separator=":", lowercase=False, strip_punctuation=False)
    assert said(tmp_path, plain, pl.Series(["pof:1"]))["split"] == {"kind": "separator", "separator": ":"}


def test_a_history_has_every_item_of_the_catalogue_and_no_other(tmp_path: Path) -> None:
    raw = RawColumns(Graph("g", opset=17), {})
    fitted = HistoryFeature(min_count=2, max_length=7).fit(
        pl.Series(["x", "y", "z", "gone"]), pl.Series([5, 1, 2, 4]).to_numpy()
    )
    encode_history(raw, fitted, pl.Series(["z", "new", "y", "x"]), Vocabularies(tmp_path))
    (entry,) = (entry.model_dump(mode="json") for entry in raw.inputs())
    assert table(tmp_path, entry) == {"z": 3, "new": 0, "y": 0, "x": 2}
    assert entry["lookup"]["unknown_row"] is None
    assert (entry["column"], entry["max_length"], entry["reads"]) == (None, 7, "last")
