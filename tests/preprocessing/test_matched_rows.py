"""Two fits of a feature, matched by what their rows stand for; and numbers that keep their meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.errors import ConfigError, DataError
from twotower.preprocessing import (
    BucketsFeature,
    CategoryFeature,
    FeatureConfig,
    GeoFeature,
    HistoryFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    Preprocessor,
    TextFeature,
    TimestampFeature,
    VectorFeature,
    keep_numbers,
    matched_rows,
    numbers_of,
)
from twotower.types import Ragged

EARLIER = pl.DataFrame(
    {
        "id": ["bob", "eve", "bob", "kim", "kim"],
        "words": ["old man", "the old sea", "sea", "the the", "man"],
        "tags": [["a"], ["b", "a"], [], ["c"], ["b"]],
        "lon": [0.0, 90.0, 0.0, None, 0.0],
        "lat": [0.0, 0.0, 0.0, 0.0, 0.0],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
)
LATER = pl.DataFrame(
    {
        "id": ["zoe", "bob", "ann", "kim", "kim", "zoe"],
        "words": ["sea", "new sea", "the sea", "the old", "sky", "new"],
        "tags": [["z", "c"], ["b"], ["b"], ["b"], ["b"], ["b"]],
        "lon": [0.0, -90.0, 0.2, None, 90.0, 90.0],
        "lat": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        "x": [0.0, 1.0, 2.0, 4.0, 8.0, 16.0],
    }
)
BY_VALUE: list[tuple[FeatureConfig, str]] = [
    (IdFeature(column="id"), "id"),
    (CategoryFeature(column="id"), "id"),
    (TextFeature(column="words"), "words"),
    (MultiCategoryFeature(column="tags"), "tags"),
    (GeoFeature(longitude="lon", latitude="lat", name="place"), "place"),
]


def rows_of(column: object) -> list[int]:
    assert isinstance(column, torch.Tensor | Ragged)
    return (column.values if isinstance(column, Ragged) else column).tolist()


@pytest.mark.parametrize(("feature", "name"), BY_VALUE, ids=[config.kind for config, _ in BY_VALUE])
def test_whatever_both_know_is_matched_wherever_its_rows_are(feature: FeatureConfig, name: str) -> None:
    # the oracle: each value of either table, encoded by both
    assert not isinstance(feature, HistoryFeature)
    earlier = feature.fit(feature.source(EARLIER))  # type: ignore[union-attr]
    later = feature.fit(feature.source(LATER))  # type: ignore[union-attr]
    found = matched_rows(later, earlier)
    values = feature.source(pl.concat([EARLIER, LATER]))  # type: ignore[union-attr]
    before: Any = earlier.encode(values)
    after: Any = later.encode(values)
    sizes = {column.name: column.vocabulary_size for column in later.columns if column.kind == "rows"}
    assert {column: len(rows) for column, rows in found.items()} == sizes
    moved = 0
    for column, rows in found.items():
        assert rows[0] == 0
        for old, new in zip(rows_of(before[column]), rows_of(after[column]), strict=True):
            if new:
                assert rows[new] == (old or -1)
                moved += old not in (0, new)
        assert len(set(rows[rows >= 0].tolist())) == int((rows >= 0).sum())
    assert moved or name == "place"


def test_a_history_is_matched_by_its_items() -> None:
    earlier, later = (HistoryFeature().fit(pl.Series(ids)) for ids in ([30, 10], [10, 20, 30]))
    assert matched_rows(later, earlier)["history"].tolist() == [0, 1, -1, 2]


def test_an_id_that_grew_out_of_the_tail_takes_the_row_that_it_shared() -> None:
    feature = IdFeature(column="id", min_count=2, tail_buckets=1)
    earlier = feature.fit(pl.Series("id", ["bob", "bob", "eve"]))
    later = feature.fit(pl.Series("id", ["bob", "bob", "eve", "eve", "zoe", "zoe", "ann"]))
    # rows: unknown, bob, eve, zoe, the tail; before: unknown, bob, the tail
    assert matched_rows(later, earlier)["id"].tolist() == [0, 1, 2, -1, 2]
    alone = IdFeature(column="id", min_count=2).fit(pl.Series("id", ["bob", "bob", "eve"]))
    assert matched_rows(later, alone)["id"].tolist() == [0, 1, -1, -1, -1]


def test_hashed_ids_keep_their_rows_and_other_buckets_are_other_ids() -> None:
    earlier, later = (IdFeature(column="id", hash_buckets=n).fit(pl.Series(["a"])) for n in (4, 4))
    assert matched_rows(later, earlier)["id"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="hash_buckets is 5, and was 4"):
        matched_rows(IdFeature(column="id", hash_buckets=5).fit(pl.Series(["a"])), earlier)
    with pytest.raises(ConfigError, match="kind is 'category', and was 'id'"):
        matched_rows(CategoryFeature(column="id").fit(pl.Series(["a"])), earlier)
    places = [GeoFeature(longitude="lon", latitude="lat", name="p", cells=cells) for cells in ((10.0, 1.0), (20.0, 1.0))]
    with pytest.raises(ConfigError, match="other cells"):
        matched_rows(*(place.fit(place.source(EARLIER)) for place in places))


def test_text_is_no_integer() -> None:
    with pytest.raises(DataError, match="must hold what it was fitted on, text"):
        matched_rows(IdFeature(column="id").fit(pl.Series([1])), IdFeature(column="id").fit(pl.Series(["1"])))


def test_rows_of_missing_values_are_matched_with_each_other() -> None:
    category = CategoryFeature(column="id", missing="own_row")
    earlier, later = (category.fit(pl.Series("id", ids)) for ids in (["a", None], ["b", "a", "c"]))
    assert matched_rows(later, earlier)["id"].tolist() == [0, 1, -1, -1, 2]
    without = CategoryFeature(column="id").fit(pl.Series("id", ["a"]))
    assert matched_rows(later, without)["id"].tolist() == [0, 1, -1, -1, -1]
    buckets = BucketsFeature(column="x", edges=(1.0, 2.0), missing="own_row").fit(pl.Series("x", [1.0]))
    assert matched_rows(buckets, buckets)["x"].tolist() == [0, 1, 2, 3]


def test_a_bucket_takes_the_one_that_its_middle_lay_in() -> None:
    def edges(*values: float) -> BucketsFeature:
        return BucketsFeature(column="x", edges=values)

    earlier, later = (edges(*values).fit(pl.Series("x", [1.0])) for values in ((0.0, 10.0, 20.0), (-5.0, 4.0, 18.0, 30.0)))
    # below -5, -5 to 4 (middle -.5), 4 to 18 (11), 18 to 30 (24), from 30 on
    assert matched_rows(later, earlier)["x"].tolist() == [0, 0, 2, 3, 3]
    feature = TimestampFeature(column="t", num_edges=3)
    monday, tuesday = (feature.fit(pl.Series("t", times)) for times in ([0, 100], [0, 200]))
    # edges 0, 50, 100 and 0, 100, 200: what comes after Monday was its last bucket
    assert matched_rows(tuesday, monday)["t.bucket"].tolist() == [0, 2, 3, 3]
    assert matched_rows(monday, monday)["t.bucket"].tolist() == [0, 1, 2, 3]
    plain = TimestampFeature(column="t", standardise=True).fit(pl.Series("t", [0, 1]))
    assert matched_rows(monday, plain)["t.bucket"].tolist() == [-1, -1, -1, -1]
    assert matched_rows(plain, monday) == {}


def preprocessor(frame: pl.DataFrame, **number: object) -> Preprocessor:
    return Preprocessor.fit(
        [
            IdFeature(column="id"),
            NumberFeature(column="x", **number),
            TimestampFeature(column="x", name="at", standardise=True),
            TimestampFeature(column="x", name="cut", num_edges=3),
        ],
        [BucketsFeature(column="price", num_edges=3, spacing="quantile"), NumberFeature(column="price", name="number")],
        users=frame.select("id").unique(),
        context=frame,
        items=pl.DataFrame({"item": range(frame.height), "price": frame["x"]}),
        user_column="id",
        item_column="item",
    )


def test_what_was_there_before_is_read_to_the_same_bits_and_new_values_go_on() -> None:
    monday, tuesday = preprocessor(EARLIER), preprocessor(LATER)
    kept = keep_numbers(tuesday, numbers_of(monday.spec))
    for name in ("x", "at.standardised", "cut.bucket"):
        assert torch.equal(kept.encode_context(EARLIER)[name], monday.encode_context(EARLIER)[name])  # type: ignore[arg-type]
        assert not torch.equal(tuesday.encode_context(EARLIER)[name], monday.encode_context(EARLIER)[name])  # type: ignore[arg-type]
    items = pl.DataFrame({"item": [1, 2, 3], "price": [1.0, 3.5, 5.0]})
    for name in ("price", "number"):
        assert torch.equal(kept.encode_items(items)[name], monday.encode_items(items)[name])  # type: ignore[arg-type]
    # 16 lies beyond what Monday knew: numbers and times go on, on the same line; buckets end where they ended
    column = kept.encode_context(LATER)["x"]
    assert isinstance(column, torch.Tensor)
    expected = (np.array([0, 1, 2, 4, 8, 16]) - 3) / np.sqrt(2)
    np.testing.assert_allclose(column[:, 0].numpy(), expected, rtol=1e-6)
    at = kept.encode_context(LATER)["at.standardised"]
    assert isinstance(at, torch.Tensor)
    np.testing.assert_allclose(at[:, 0].numpy(), expected, rtol=1e-6)
    assert rows_of(kept.encode_context(LATER)["cut.bucket"]) == [1, 1, 1, 2, 3, 3]
    # ids are the later fit's own
    assert kept.encode_users(LATER)["id"].tolist() == tuesday.encode_users(LATER)["id"].tolist()  # type: ignore[union-attr]


def test_a_number_that_is_declared_otherwise_is_another_one() -> None:
    monday = preprocessor(EARLIER)
    with pytest.raises(ConfigError, match="query feature 'x': transform is 'log1p', and was 'none'"):
        keep_numbers(preprocessor(LATER, transform="log1p"), numbers_of(monday.spec))


def test_only_numbers_are_numbers() -> None:
    found = numbers_of(preprocessor(EARLIER).spec)
    assert {tower: sorted(features) for tower, features in found.items()} == {
        "query": ["at", "cut", "x"],
        "candidate": ["number", "price"],
    }
    vector = VectorFeature(column="v").fit(pl.Series("v", [[1.0, 2.0]]))
    assert matched_rows(vector, vector) == {}
