"""Reading numbers, moments and quantiles, against NumPy on repeated rows."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twotower.errors import DataError
from twotower.preprocessing.floats import moments, quantiles, to_floats


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([1, None]), [1.0, np.nan]),
        (pl.Series([1.5, float("nan")]), [1.5, np.nan]),
        (pl.Series([2, 3], dtype=pl.UInt8), [2.0, 3.0]),
        (pl.Series([True, False]), [1.0, 0.0]),
        (pl.Series([Decimal("1.25")]), [1.25]),
        (pl.Series([None, None]), [np.nan, np.nan]),
        (pl.Series([], dtype=pl.Float32), []),
    ],
)
def test_numbers_become_float64_and_missing_nan(column: pl.Series, expected: list[float]) -> None:
    floats = to_floats(column, "x")
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats, expected)


def test_text_is_refused_with_examples() -> None:
    with pytest.raises(DataError, match=r"'age' must hold numbers; it holds String \('12', 'old'\); cast it"):
        to_floats(pl.Series(["12", None, "old"]), "age")


def test_infinity_is_refused_with_rows() -> None:
    with pytest.raises(DataError, match=r"'age' must hold finite numbers; infinite in 2 of 3 rows, first: 1, 2"):
        to_floats(pl.Series([1.0, float("inf"), float("-inf")]), "age")


@st.composite
def weighted(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values = draw(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
    counts = draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)).filter(any))
    return np.array(values), np.array(counts, dtype=np.int64)


@settings(max_examples=100, deadline=None)
@given(weighted())
def test_moments_are_those_of_the_repeated_rows(rows: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    values, counts = rows
    repeated = np.repeat(values, counts)
    found = moments(values, counts, "x")
    assert (found.minimum, found.maximum) == (repeated.min(), repeated.max())
    np.testing.assert_allclose(found.mean, repeated.mean(), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(found.std, repeated.std(), rtol=1e-6, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(weighted(), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_quantiles_are_those_of_the_repeated_rows(rows: tuple[NDArray[np.float64], NDArray[np.int64]], at: list[float]) -> None:
    values, counts = rows
    expected = np.quantile(np.repeat(values, counts), at)
    np.testing.assert_allclose(quantiles(values, counts, np.array(at), "x"), expected, rtol=1e-9, atol=1e-6)


def test_nan_is_left_out() -> None:
    values = np.array([np.nan, 1.0, 3.0])
    assert moments(values, None, "x") == (1.0, 3.0, 2.0, 1.0)
    assert quantiles(values, None, np.array([0.5]), "x").tolist() == [2.0]


def test_one_value_has_a_deviation_of_exactly_zero() -> None:
    assert moments(np.full(3, 0.1), None, "x") == (0.1, 0.1, 0.1, 0.0)


@pytest.mark.parametrize(("values", "counts"), [([], None), ([np.nan], None), ([1.0], [0])])
def test_no_value_is_an_error(values: list[float], counts: list[int] | None) -> None:
    given_counts = None if counts is None else np.array(counts)
    with pytest.raises(DataError, match="'x' must have a value to fit on"):
        moments(np.array(values), given_counts, "x")
    with pytest.raises(DataError, match="'x' must have a value to fit on"):
        quantiles(np.array(values), given_counts, np.array([0.5]), "x")
