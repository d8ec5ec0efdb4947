"""Numbers in a graph beside numbers in preprocessing, to the bit where they are rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.running import encoded_by

from twotower.export.number_features import encode_buckets, encode_number, encode_timestamp, encode_vector
from twotower.preprocessing import BucketsFeature, FillNumber, NumberFeature, TimestampFeature, VectorFeature

TRAIN = pl.Series([0.5, 1.0, 1.0, 2.5, 40.0, 41.5, -0.25, None])
FULL = TRAIN.drop_nulls()
ANY = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from(FULL.to_list())), min_size=1, max_size=30)

NUMBERS = [
    NumberFeature(column="x", missing="own"),
    NumberFeature(column="x", missing="own", transform="log1p", clip=(-0.5, 41)),
    NumberFeature(column="x", missing=FillNumber(fill=3)),
    NumberFeature(column="x", missing=FillNumber(fill=3), standardise=False),
]
BUCKETS = [
    BucketsFeature(column="x", edges=(0.5, 1, 40), missing="own_row"),
    BucketsFeature(column="x", num_edges=4, missing="own_row", clip=(0, 40)),
    BucketsFeature(column="x", num_edges=5, spacing="quantile", missing=FillNumber(fill=1)),
]


def floats(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def same(encode: Callable[..., Any], fitted: Any, values: list[float | None]) -> None:
    found, refused = encoded_by(lambda raw: encode(raw, fitted), {"x": floats(values)})
    expected = fitted.encode(pl.Series(values, dtype=pl.Float64))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-6, atol=1e-6 if tensor.is_floating_point() else 0)
    assert not refused.any()


@settings(max_examples=40, deadline=None)
@given(feature=st.sampled_from(NUMBERS), values=ANY)
def test_numbers(feature: NumberFeature, values: list[float | None]) -> None:
    same(encode_number, feature.fit(TRAIN), values)


@settings(max_examples=40, deadline=None)
@given(feature=st.sampled_from(BUCKETS), values=ANY)
def test_buckets(feature: BucketsFeature, values: list[float | None]) -> None:
    same(encode_buckets, feature.fit(TRAIN), values)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.floats(-1e9, 4e9), st.integers(-(10**9), 4 * 10**9)), min_size=1, max_size=20))
def test_times(values: list[float | None]) -> None:
    feature = TimestampFeature(column="x", num_edges=9, standardise=True, hour_of_day=True, day_of_week=True)
    same(encode_timestamp, feature.fit(pl.Series([1.5e9, 1.6e9, 1.55e9])), [None if v is None else float(v) for v in values])


@pytest.mark.parametrize("encode_and_feature", [(encode_number, NumberFeature(column="x", standardise=True))])
def test_a_column_of_one_value_is_zeros(encode_and_feature: Any) -> None:
    encode, feature = encode_and_feature
    same(encode, feature.fit(pl.Series([7.0, 7.0])), [7.0, 9.0])


@pytest.mark.parametrize(
    ("encode", "fitted"),
    [
        (encode_number, NumberFeature(column="x").fit(FULL)),
        (encode_buckets, BucketsFeature(column="x", num_edges=3).fit(FULL)),
    ],
)
def test_what_must_be_there_is_refused_where_it_is_not(encode: Any, fitted: Any) -> None:
    values = np.array([1.0, np.nan, np.inf, -np.inf])
    _, refused = encoded_by(lambda raw: encode(raw, fitted), {"x": values})
    assert refused.tolist() == [False, True, True, True]
    _, refused = encoded_by(lambda raw: encode(raw, fitted), {"x": values}, {"x": 2})
    assert refused.tolist() == [False, False, True, True]  # something stands in for what is missing


@pytest.mark.parametrize("normalise", [False, True])
def test_vectors(normalise: bool) -> None:
    fitted = VectorFeature(column="x", missing="zeros", normalise=normalise).fit(pl.Series([[1.0, 2.0]]))
    rows = [[3.0, 4.0], None, [0.0, 0.0], [-1e-3, 7.0]]
    given_ = np.array([[np.nan, np.nan] if row is None else row for row in rows])
    found, refused = encoded_by(lambda raw: encode_vector(raw, fitted), {"x": given_})
    np.testing.assert_allclose(found["x"], fitted.encode(pl.Series(rows))["x"].numpy(), rtol=1e-6)
    assert not refused.any()


@pytest.mark.parametrize(("missing", "expected"), [("zeros", [0, 0, 1, 1]), ("error", [0, 1, 1, 1])])
def test_half_a_vector_is_refused(missing: Any, expected: list[int]) -> None:
    fitted = VectorFeature(column="x", missing=missing).fit(pl.Series([[1.0, 2.0]]))
    given_ = np.array([[3.0, 4.0], [np.nan, np.nan], [1.0, np.nan], [np.inf, 1.0]])
    _, refused = encoded_by(lambda raw: encode_vector(raw, fitted), {"x": given_})
    assert refused.astype(int).tolist() == expected
