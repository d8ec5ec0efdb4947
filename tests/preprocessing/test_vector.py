"""Vectors of the table."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from twotower.errors import DataError
from twotower.preprocessing import VectorFeature
from twotower.spec import FloatsColumn


def test_lists_and_arrays_as_they_are() -> None:
    fitted = VectorFeature(column="v").fit(pl.Series([[1, 2], [3, 4]]))
    assert fitted.columns == (FloatsColumn(name="v", width=2),)
    encoded = fitted.encode(pl.Series([[1.5, 2.0]], dtype=pl.Array(pl.Float32, 2)))["v"]
    assert encoded.dtype == torch.float32
    assert encoded.tolist() == [[1.5, 2.0]]
    assert fitted.encode(pl.Series([], dtype=pl.List(pl.Float64)))["v"].shape == (0, 2)


def test_normalise_scales_to_length_one() -> None:
    train = pl.Series([[3.0, 4.0], [0.0, 0.0]])
    assert VectorFeature(column="v").fit(train).encode(train)["v"].tolist() == [[3, 4], [0, 0]]
    encoded = VectorFeature(column="v", normalise=True).fit(train).encode(train)["v"]
    np.testing.assert_allclose(encoded, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_missing_rules() -> None:
    column = pl.Series([None, [1.0, 2.0], None])
    with pytest.raises(
        DataError, match="'v' must not have missing values; missing in 2 of 3 rows, first: 0, 2; declare missing = 'zeros'"
    ):
        VectorFeature(column="v").fit(column)
    fitted = VectorFeature(column="v", missing="zeros").fit(column)
    assert fitted.encode(column)["v"].tolist() == [[0, 0], [1, 2], [0, 0]]
    assert fitted.encode(pl.Series([None]))["v"].tolist() == [[0, 0]]


def test_another_length_is_refused_with_the_row() -> None:
    fitted = VectorFeature(column="v", missing="zeros").fit(pl.Series([[1.0, 2.0]]))
    with pytest.raises(DataError, match="'v' must hold vectors of 2 numbers; came 3 in 1 of 3 rows, first: 2"):
        fitted.encode(pl.Series([None, [1.0, 2.0], [1.0, 2.0, 3.0]]))
    with pytest.raises(DataError, match="vectors of 2 numbers; came 0"):
        fitted.encode(pl.Series([[]], dtype=pl.List(pl.Float64)))
    with pytest.raises(DataError, match="vectors of 1 numbers; came 2"):
        VectorFeature(column="v").fit(pl.Series([[1.0], [1.0, 2.0]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_value_that_is_not_finite_is_refused_with_the_row(bad: float | None) -> None:
    column = pl.Series([None, [1.0, 2.0], [1.0, bad]])
    with pytest.raises(DataError, match="'v' must hold finite numbers; it does not in 1 of 3 rows, first: 2"):
        VectorFeature(column="v", missing="zeros").fit(column)


def test_other_types_and_nothing_are_refused() -> None:
    for column in (pl.Series([1.0]), pl.Series([["a"]]), pl.Series(["a"])):
        with pytest.raises(DataError, match="'v' must hold vectors: lists or arrays of numbers"):
            VectorFeature(column="v").fit(column)
    with pytest.raises(DataError, match="'v' must have a vector to fit on; none of 1 rows has one"):
        VectorFeature(column="v", missing="zeros").fit(pl.Series([None]))
    with pytest.raises(DataError, match="at least one number"):
        VectorFeature(column="v").fit(pl.Series([[]], dtype=pl.List(pl.Float64)))
    with pytest.raises(ValueError, match="one entry per row"):
        VectorFeature(column="v").fit(pl.Series([[1.0]]), np.array([1, 1]))
