"""Buckets, against counting the edges one by one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import BucketsFeature, FillNumber
from twotower.spec import RowsColumn

VALUES = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(edges=st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=6, unique=True), values=VALUES)
def test_given_edges_are_counted(edges: list[float], values: list[float]) -> None:
    edges.sort()
    fitted = BucketsFeature(column="x", edges=tuple(edges)).fit(pl.Series([0.0]))
    expected = [sum(1 for edge in edges if edge <= value) for value in values]
    assert fitted.encode(pl.Series(values))["x"].tolist() == expected
    assert fitted.columns == (RowsColumn(name="x", vocabulary_size=len(edges) + 1),)


@settings(max_examples=60, deadline=None)
@given(num_edges=st.integers(2, 7), train=VALUES, later=VALUES)
def test_linear_edges_are_spread_over_the_range_of_train(num_edges: int, train: list[float], later: list[float]) -> None:
    fitted = BucketsFeature(column="x", num_edges=num_edges).fit(pl.Series(train))
    edges = np.linspace(min(train), max(train), num_edges).tolist()
    expected = [sum(1 for edge in edges if edge <= min(max(value, min(train)), max(train))) for value in later]
    assert fitted.encode(pl.Series(later))["x"].tolist() == expected
    assert fitted.columns == (RowsColumn(name="x", vocabulary_size=num_edges + 1),)


def test_known_linear_buckets() -> None:
    fitted = BucketsFeature(column="x", num_edges=3, spacing="linear").fit(pl.Series([0, 10]))
    assert fitted.edges == (0.0, 5.0, 10.0)
    assert fitted.encode(pl.Series([0.0, 4.9, 5.0, 9.9, 10.0]))["x"].tolist() == [1, 1, 2, 2, 3]
    assert fitted.encode(pl.Series([-7, 70]))["x"].tolist() == [1, 3]


def test_quantile_edges_share_the_rows_out() -> None:
    train = pl.Series([1, 2, 3, 1_000])
    fitted = BucketsFeature(column="x", num_edges=3, spacing="quantile").fit(train)
    assert fitted.edges == (1.75, 2.5, 252.25)
    assert fitted.encode(train)["x"].tolist() == [0, 1, 2, 3]
    assert BucketsFeature(column="x", num_edges=3).fit(train).encode(train)["x"].tolist() == [1, 1, 1, 3]


def test_quantile_edges_that_agree_are_one_edge() -> None:
    fitted = BucketsFeature(column="x", num_edges=4, spacing="quantile").fit(pl.Series([0, 0, 0, 0, 5]))
    assert fitted.edges == pytest.approx((0.0, 1.0))


def test_quantiles_weigh_by_counts() -> None:
    config = BucketsFeature(column="x", num_edges=1, spacing="quantile")
    assert config.fit(pl.Series([0, 1, 2])).edges == (1.0,)
    assert config.fit(pl.Series([0, 1, 2]), np.array([1, 1, 5])).edges == (2.0,)


def test_missing_rules() -> None:
    train = pl.Series([0, 10, None])
    with pytest.raises(DataError, match=r"'x'.*1 of 3 rows, first: 2; declare missing = 'own_row'"):
        BucketsFeature(column="x", num_edges=2).fit(train)
    own = BucketsFeature(column="x", num_edges=2, missing="own_row").fit(train)
    assert own.encode(pl.Series([0, 10, None]))["x"].tolist() == [1, 2, 3]
    assert own.columns == (RowsColumn(name="x", vocabulary_size=4),)
    fill = BucketsFeature(column="x", num_edges=2, missing=FillNumber(fill=20)).fit(train)
    assert fill.edges == (0.0, 20.0)
    assert fill.encode(pl.Series([10, None]))["x"].tolist() == [1, 2]
    with pytest.raises(DataError, match="1 of 1 rows"):
        BucketsFeature(column="x", edges=(1,)).fit(pl.Series([1])).encode(pl.Series([float("nan")]))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "give either edges or num_edges"),
        ({"edges": [1], "num_edges": 3}, "give either edges or num_edges"),
        ({"edges": [1, 1]}, "strictly increasing"),
        ({"edges": [2, 1]}, "strictly increasing"),
        ({"edges": []}, "edges"),
        ({"edges": [1], "spacing": "linear"}, "spacing belongs to num_edges"),
        ({"num_edges": 1}, "at least 2 with linear"),
        ({"num_edges": 0, "spacing": "quantile"}, "greater than or equal to 1"),
    ],
)
def test_faults(values: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_config(BucketsFeature, {"column": "x", **values})


def test_text_and_nothing_to_fit_on_are_refused() -> None:
    with pytest.raises(DataError, match="must hold numbers"):
        BucketsFeature(column="x", edges=(1,)).fit(pl.Series(["a"]))
    with pytest.raises(DataError, match="must have a value to fit on"):
        BucketsFeature(column="x", num_edges=2).fit(pl.Series([], dtype=pl.Int64))


def test_what_is_not_believed_is_taken_as_the_nearest_that_is() -> None:
    ages = pl.Series([0.0, 20.0, 30.0, 250.0])
    linear = BucketsFeature(column="age", num_edges=3, clip=(18, 80)).fit(ages)
    assert linear.edges == (18, 49, 80)
    assert linear.encode(pl.Series([0.0, 48.0, 49.0, 250.0]))["age"].tolist() == [1, 1, 2, 3]
    assert BucketsFeature(column="age", num_edges=3).fit(ages).edges == (0, 125, 250)
    given = BucketsFeature(column="age", edges=(10, 60, 90), clip=(18, 80), missing="own_row").fit(ages)
    assert given.encode(pl.Series([0.0, 70.0, 250.0, None]))["age"].tolist() == [1, 2, 2, 4]
    assert BucketsFeature(column="age", edges=(10, 60, 90)).fit(ages).encode(pl.Series([0.0, 250.0]))["age"].tolist() == [0, 3]
