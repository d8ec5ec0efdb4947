"""Encoding for keeps: the same rows as encoding, in less memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from twotower.errors import DataError
from twotower.preprocessing import (
    BucketsFeature,
    CategoryFeature,
    ColumnFeatureConfig,
    FittedFeature,
    FittedNumber,
    GeoFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    TextFeature,
    TimestampFeature,
    VectorFeature,
)
from twotower.preprocessing import stored_columns as room
from twotower.preprocessing.stored_columns import chosen_rows, encode_stored, fit_stored
from twotower.types import Coded, Column, Computed, Ragged, StoredColumn, column_length, take_column

ROWS = 9_000
FEATURES: dict[str, ColumnFeatureConfig] = {
    "id": IdFeature(column="viewer", min_count=4, tail_buckets=7),
    "network": CategoryFeature(column="viewer", name="network", separator=":", part=0, missing="own_row"),
    "words": TextFeature(column="viewer", name="words", separator=":"),
    "city": CategoryFeature(column="city", missing="own_row"),
    "tags": MultiCategoryFeature(column="tags", separator="|"),
    "age": NumberFeature(column="age", missing="own"),
    "age_bucket": BucketsFeature(column="age", name="age_bucket", num_edges=5, clip=(20, 60), missing="own_row"),
    "score": NumberFeature(column="score"),
    "score_bucket": BucketsFeature(column="score", name="score_bucket", num_edges=300),
    "place": GeoFeature(longitude="lon", latitude="lat", name="place"),
    "at": TimestampFeature(column="at", hour_of_day=True, num_edges=9),
    "picture": VectorFeature(column="picture"),
    "kind": CategoryFeature(column="kind"),
    "genres": MultiCategoryFeature(column="genres"),
}


@functools.cache
def table(num_rows: int = ROWS) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    viewers = pl.Series([f"net{i % 5}:{i}" if i % 7 else f"lone{i}" for i in range(2_000)])

    def holes(column: pl.Series) -> pl.Series:
        return column.set(pl.Series(rng.random(num_rows) < 0.1), None)

    viewer = holes(viewers.gather(rng.integers(0, 2_000, num_rows) // (1 + rng.integers(0, 9, num_rows))))
    city = holes(pl.Series([f"city {i}" for i in rng.integers(0, 12, num_rows)]))
    tags = holes(pl.Series(["|".join("abc"[: i % 4]) for i in rng.integers(0, 9, num_rows)]))
    age = holes(pl.Series(rng.integers(10, 90, num_rows).astype(np.float32)))
    return pl.DataFrame(
        {
            "viewer": viewer.cast(pl.Enum(viewer.drop_nulls().unique().sort())),
            "city": city.cast(pl.Enum([f"city {i}" for i in sorted(range(300), key=str)])),
            "tags": tags.cast(pl.Enum(tags.drop_nulls().unique().sort())),
            "age": age.set(pl.Series(rng.random(num_rows) < 0.01), float("nan")),
            "score": rng.random(num_rows),
            "lon": holes(pl.Series(rng.uniform(-180, 180, num_rows).astype(np.float32))),
            "lat": holes(pl.Series(rng.uniform(-90, 90, num_rows).astype(np.float32))),
            "at": rng.integers(0, 10**9, num_rows),
            "picture": [[float(i), 1.0] for i in range(num_rows)],
            "kind": [("x", "y")[i % 2] for i in range(num_rows)],
            "genres": [["a", "b", "c"][: i % 3] for i in range(num_rows)],
        }
    )


def plain(column: Column) -> list[object]:
    if isinstance(column, Ragged):
        ends, values = column.offsets.tolist(), column.values.tolist()
        return [values[start:end] for start, end in pairwise(ends)]
    rows: list[object] = column.tolist()
    return rows


@functools.cache
def fitted(name: str) -> FittedFeature:
    return FEATURES[name].fit(FEATURES[name].source(table()))


CHOICES: dict[str, Callable[[int], NDArray[np.int64] | None]] = {
    "all": lambda _: None,
    "slice": lambda n: np.arange(n // 3, n),
    "few": lambda n: np.array([5, 3, 3, n - 1]),
    "gather": lambda n: np.random.default_rng(0).integers(0, n, n - 100),
    "none": lambda _: np.array([], dtype=np.int64),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("name", "fewest"), [*((name, ROWS * 2) for name in FEATURES), ("place", 1)])
def test_the_rows_are_those_of_encoding(name: str, fewest: int, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_CHUNK_ROWS", 1_000)
    monkeypatch.setattr(room, "_FEWEST_TO_COMPUTE", fewest)
    frame = table()
    rows = CHOICES[choice](frame.height)
    chosen = frame if rows is None else frame[rows]
    feature = fitted(name)
    expected = feature.encode(feature.config.source(chosen))
    stored = encode_stored([feature], frame, rows)
    assert list(stored) == [spec.name for spec in feature.columns]
    every = torch.arange(chosen.height)
    for spec in feature.columns:
        assert column_length(stored[spec.name]) == chosen.height
        found, wanted = take_column(stored[spec.name], every), expected[spec.name]
        assert plain(found) == plain(wanted)
        if isinstance(found, torch.Tensor) and isinstance(wanted, torch.Tensor):
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)


def test_points_of_many_places_are_computed_when_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table()
    assert isinstance(encode_stored([fitted("place")], frame, None)["place"], torch.Tensor)
    monkeypatch.setattr(room, "_FEWEST_TO_COMPUTE", frame.height)
    stored = encode_stored([fitted("place")], frame, None)
    assert isinstance(stored["place"], Computed)
    assert not isinstance(stored["place_fine"], Computed)
    # a place that does not exist is still told, with its row, before any batch is taken
    wrong = frame.with_columns(frame["lat"].scatter(7_777, 123.0))
    wrong = wrong.with_columns(pl.lit(1.0, dtype=pl.Float32).alias("lon"))
    with pytest.raises(DataError, match=r"'lat' must hold degrees .* row 7777 holds 123"):
        encode_stored([fitted("place")], wrong, None)


def size(column: StoredColumn) -> int:
    assert isinstance(column, Coded)
    return column.codes.element_size()


def test_rows_take_as_few_bytes_as_their_values_allow() -> None:
    frame = table()
    stored = encode_stored([fitted(name) for name in FEATURES], frame, None)
    # the city has 300 categories and a null; the age under 100 values; the coarse cells are under 256, the fine under 32,768
    bytes_of = {"viewer": 2, "city": 2, "tags": 1, "age": 1, "age_bucket": 1, "place_coarse": 2, "place_fine": 2, "kind": 1}
    assert {name: size(stored[name]) for name in bytes_of} == bytes_of
    assert size(stored["score_bucket"]) == 2
    scores = stored["score"]
    assert isinstance(scores, torch.Tensor)
    assert scores.dtype == torch.float32


def test_features_of_one_column_share_its_codes() -> None:
    frame = table()
    stored = encode_stored([fitted(name) for name in ("id", "network", "words", "age", "age_bucket")], frame, None)

    def codes(name: str) -> int:
        column = stored[name]
        assert isinstance(column, Coded)
        return column.codes.data_ptr()

    assert codes("viewer") == codes("network") == codes("words")
    assert codes("age") == codes("age_bucket") != codes("viewer")


def test_the_codes_are_the_memory_of_the_table_where_no_value_is_missing() -> None:
    column = pl.Series("city", [f"{i:03}" for i in range(300)] * 40)
    frame = pl.DataFrame({"city": column.cast(pl.Enum(sorted(set(column))))})
    feature = CategoryFeature(column="city").fit(frame["city"])
    memory = frame["city"].to_physical().to_numpy()
    for rows in (None, np.arange(100, frame.height)):
        stored = encode_stored([feature], frame, rows)["city"]
        assert isinstance(stored, Coded)
        assert np.shares_memory(stored.codes.numpy(), memory)


def test_a_missing_value_is_named_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_CHUNK_ROWS", 1_000)
    scores = np.random.default_rng(0).random(6_000)
    frame = pl.DataFrame({"city": ["a", "b"] * 3_000, "age": [1.0, 2.0] * 3_000, "score": scores})
    configs: list[CategoryFeature | NumberFeature] = [
        CategoryFeature(column="city"),
        NumberFeature(column="age"),
        NumberFeature(column="score"),
    ]
    bad = frame.with_columns(pl.when(pl.int_range(pl.len()) < 5_990).then(pl.all()))
    for dtype in (pl.String, pl.Enum(["a", "b"])):
        for config in configs:
            feature = config.fit(frame[config.column])
            with pytest.raises(DataError, match=r"missing in 10 of 6,000 rows, first: 5990, 5991"):
                encode_stored([feature], bad.with_columns(pl.col("city").cast(dtype)), None)
            with pytest.raises(DataError, match=r"missing in 10 of 5,000 rows, first: 4990, 4991"):
                encode_stored([feature], bad.with_columns(pl.col("city").cast(dtype)), np.arange(1_000, 6_000))


def test_few_distinct_numbers_are_fitted_by_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_FEWEST_TO_COUNT", 4_096)
    column = table()["age"]
    read: list[int] = []
    fit = NumberFeature.fit

    def counted(self: NumberFeature, column: pl.Series, counts: NDArray[np.int64] | None = None) -> object:
        read.append(len(column))
        return fit(self, column, counts)

    monkeypatch.setattr(NumberFeature, "fit", counted)
    number = NumberFeature(column="age", missing="own")
    ours, theirs = fit_stored(number, column), fit(number, column)
    assert isinstance(ours, FittedNumber)
    assert (ours.minimum, ours.maximum) == (theirs.minimum, theirs.maximum)
    assert (ours.mean, ours.std) == pytest.approx((theirs.mean, theirs.std), rel=1e-12)
    assert read[0] < 100  # not the 9,000 rows
    for config in (FEATURES["age_bucket"], BucketsFeature(column="age", num_edges=7, spacing="quantile", missing="own_row")):
        assert fit_stored(config, column) == config.fit(column)
    assert fit_stored(FEATURES["score"], table()["score"]) == FEATURES["score"].fit(table()["score"])
    with pytest.raises(DataError, match=r"missing in \d,?\d+ of 9,000 rows"):
        fit_stored(NumberFeature(column="age"), column)


def test_a_category_that_no_row_has_is_no_fault() -> None:
    config = CategoryFeature(column="viewer", separator=":", part=1)
    column = pl.Series("viewer", ["a:1", "a:2"] * 10, dtype=pl.Enum(["a:1", "a:2", "lone"]))
    stored = encode_stored([config.fit(column)], column.to_frame(), None)
    assert plain(take_column(stored["viewer"], torch.arange(3))) == [1, 2, 1]


@pytest.mark.parametrize(
    ("rows", "copied"), [([2, 3, 4], False), ([2, 4, 5], True), ([4, 3, 2], True), ([2, 2, 3, 5], True), ([3], False)]
)
def test_rows_that_follow_one_another_are_not_copied(rows: list[int], copied: bool) -> None:
    column = pl.Series(np.arange(10.0))
    chosen = chosen_rows(column, np.array(rows))
    assert chosen.to_list() == rows
    assert np.shares_memory(chosen.to_numpy(), column.to_numpy()) is not copied
