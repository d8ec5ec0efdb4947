"""Times, against the standard library's calendar."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import TimestampFeature
from twotower.preprocessing.timestamp import to_seconds
from twotower.spec import FloatsColumn, RowsColumn


def test_buckets_are_linear_and_clipped() -> None:
    fitted = TimestampFeature(column="t", num_edges=5).fit(pl.Series([100, 500]))
    assert fitted.encode(pl.Series([100, 199, 200, 499, 500, 99, 9_999]))["t.bucket"].tolist() == [1, 1, 2, 4, 5, 1, 5]
    assert fitted.columns == (RowsColumn(name="t.bucket", vocabulary_size=6),)


def test_standardised_is_clipped() -> None:
    fitted = TimestampFeature(column="t", standardise=True).fit(pl.Series([100, 500]))
    assert (fitted.minimum, fitted.maximum, fitted.mean, fitted.std) == (100, 500, 300, 200)
    assert fitted.encode(pl.Series([100, 300, 500, 900]))["t.standardised"].tolist() == [[-1], [0], [1], [1]]
    one = TimestampFeature(column="t", standardise=True).fit(pl.Series([100, 100]))
    assert one.encode(pl.Series([100, 900]))["t.standardised"].tolist() == [[0], [0]]


def test_counts_weigh() -> None:
    fitted = TimestampFeature(column="t", standardise=True).fit(pl.Series([0, 4, 100]), np.array([3, 1, 0]))
    assert (fitted.maximum, fitted.mean) == (4, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(-(10**9), 4 * 10**9))
def test_hour_and_weekday_are_those_of_the_calendar(seconds: int) -> None:
    fitted = TimestampFeature(column="t", hour_of_day=True, day_of_week=True).fit(pl.Series([0]))
    encoded = fitted.encode(pl.Series([seconds]))
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    hour = 2 * math.pi * (when.hour + when.minute / 60 + when.second / 3600) / 24
    weekday = 2 * math.pi * when.weekday() / 7
    np.testing.assert_allclose(encoded["t.hour"], [[math.sin(hour), math.cos(hour)]], atol=1e-6)
    np.testing.assert_allclose(encoded["t.weekday"], [[math.sin(weekday), math.cos(weekday)]], atol=1e-6)


def test_all_columns_in_order_under_the_name() -> None:
    config = TimestampFeature(column="t", name="when", num_edges=2, standardise=True, hour_of_day=True, day_of_week=True)
    fitted = config.fit(pl.Series([0, 10]))
    assert fitted.columns == (
        RowsColumn(name="when.bucket", vocabulary_size=3),
        FloatsColumn(name="when.standardised", width=1),
        FloatsColumn(name="when.hour", width=2),
        FloatsColumn(name="when.weekday", width=2),
    )
    assert list(fitted.encode(pl.Series([3]))) == ["when.bucket", "when.standardised", "when.hour", "when.weekday"]


def test_a_missing_time_is_the_end_of_train() -> None:
    config = TimestampFeature(column="t", num_edges=3, standardise=True, hour_of_day=True, day_of_week=True)
    fitted = config.fit(pl.Series([0, 900_000]))
    missing, end = fitted.encode(pl.Series([None, None], dtype=pl.Int64)), fitted.encode(pl.Series([900_000, 900_000]))
    for name in end:
        assert torch.equal(missing[name], end[name])


def test_a_missing_time_in_train_is_refused() -> None:
    with pytest.raises(DataError, match="'t' must not have missing values; missing in 1 of 2 rows, first: 1"):
        TimestampFeature(column="t", standardise=True).fit(pl.Series([1, None]))


def test_dates_and_datetimes_are_utc_seconds() -> None:
    assert to_seconds(pl.Series([date(1970, 1, 3)]), "t").tolist() == [172_800]
    assert to_seconds(pl.Series([datetime(1970, 1, 1, 0, 0, 1, 500_000), None]), "t").tolist()[0] == 1.5
    paris = pl.Series([datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))])
    assert to_seconds(paris, "t").tolist() == [0]
    assert to_seconds(paris.dt.convert_time_zone("America/New_York"), "t").tolist() == [0]
    with pytest.raises(DataError, match="'t' must hold numbers; it holds String"):
        to_seconds(pl.Series(["1970-01-01"]), "t")


def test_milliseconds_are_found_out() -> None:
    with pytest.raises(DataError, match="'t' must hold Unix seconds; 1700000000000 is after the year 5000: milliseconds"):
        TimestampFeature(column="t", standardise=True).fit(pl.Series([1_700_000_000_000]))


def test_at_least_one_column_must_be_chosen() -> None:
    with pytest.raises(ConfigError, match="choose at least one of num_edges"):
        parse_config(TimestampFeature, {"column": "t"})
    with pytest.raises(ConfigError, match=r"num_edges: .*greater than or equal to 2"):
        parse_config(TimestampFeature, {"column": "t", "num_edges": 1})
