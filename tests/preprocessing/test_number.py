"""Numbers, with values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import FillNumber, NumberFeature
from twotower.spec import FloatsColumn


def encode(config: NumberFeature, train: list[float | None], later: list[float | None]) -> list[list[float]]:
    fitted = config.fit(pl.Series(train, dtype=pl.Float64))
    encoded = fitted.encode(pl.Series(later, dtype=pl.Float64))["x"]
    assert encoded.dtype == torch.float32
    rows: list[list[float]] = encoded.tolist()
    return rows


def test_standardised_by_train_and_clipped_to_it() -> None:
    assert encode(NumberFeature(column="x"), [0, 10], [0, 5, 10, 11, -1]) == [[-1], [0], [1], [1], [-1]]


def test_not_standardised_is_only_clipped() -> None:
    assert encode(NumberFeature(column="x", standardise=False), [0, 10], [5, 11, -1]) == [[5], [10], [0]]


def test_log1p() -> None:
    plain = NumberFeature(column="x", transform="log1p", standardise=False)
    logs = [row[0] for row in encode(plain, [0, 7], [0, 3, 7, 100, -1, -50])]
    assert logs == pytest.approx([0, math.log(4), math.log(8), math.log(8), 0, 0])
    fitted = NumberFeature(column="x", transform="log1p").fit(pl.Series([0.0, math.e**2 - 1]))
    assert [fitted.mean, fitted.std] == pytest.approx([1, 1])
    np.testing.assert_allclose(fitted.encode(pl.Series([math.e - 1]))["x"], [[0]], atol=1e-6)


def test_log1p_needs_more_than_minus_one() -> None:
    with pytest.raises(DataError, match=r"'x' must be greater than -1 for log1p; it is not in 1 of 2 rows, first: 1"):
        NumberFeature(column="x", transform="log1p").fit(pl.Series([0, -1]))
    assert NumberFeature(column="x").fit(pl.Series([0, -1])).minimum == -1


def test_a_column_of_one_value_becomes_zeros() -> None:
    assert encode(NumberFeature(column="x"), [0.1, 0.1, 0.1], [0.1, 7]) == [[0], [0]]


def test_missing_is_an_error_unless_declared() -> None:
    with pytest.raises(
        DataError, match=r"'x' must not have missing values; missing in 2 of 3 rows, first: 1, 2; declare missing = 'own'"
    ):
        NumberFeature(column="x").fit(pl.Series([1.0, None, float("nan")]))
    with pytest.raises(DataError, match="1 of 1 rows"):
        NumberFeature(column="x").fit(pl.Series([1.0])).encode(pl.Series([None], dtype=pl.Float64))


def test_fill_is_as_if_the_table_had_held_it() -> None:
    config = NumberFeature(column="x", missing=FillNumber(fill=10))
    assert encode(config, [0, None], [0, None, 10, float("nan")]) == [[-1], [1], [1], [1]]
    assert encode(config, [0, 4], [None]) == [[1]]  # outside the range of train: clipped


def test_own_puts_the_mean_and_an_indicator() -> None:
    config = NumberFeature(column="x", missing="own")
    assert encode(config, [0, 10, None], [0, None, 10]) == [[-1, 0], [0, 1], [1, 0]]
    assert config.fit(pl.Series([0, 10])).columns == (FloatsColumn(name="x", width=2),)
    assert encode(NumberFeature(column="x", missing="own", standardise=False), [0, 10, 2], [None]) == [[4, 1]]


def test_counts_weigh() -> None:
    fitted = NumberFeature(column="x").fit(pl.Series([0, 4, 100]), np.array([3, 1, 0]))
    assert [fitted.minimum, fitted.maximum, fitted.mean, fitted.std] == pytest.approx([0, 4, 1, math.sqrt(3)])


def test_text_and_infinity_are_refused() -> None:
    fitted = NumberFeature(column="age").fit(pl.Series([1, 2]))
    with pytest.raises(DataError, match=r"'age' must hold numbers; it holds String"):
        fitted.encode(pl.Series(["1"]))
    with pytest.raises(DataError, match="infinite in 1 of 1 rows"):
        fitted.encode(pl.Series([float("inf")]))


def test_what_is_not_believed_is_taken_as_the_nearest_that_is() -> None:
    ages = pl.Series([0.0, 20.0, 30.0, 250.0])
    fitted = NumberFeature(column="age", clip=(18, 80)).fit(ages)
    believed = np.array([18.0, 20.0, 30.0, 80.0])
    assert (fitted.minimum, fitted.maximum) == (18, 80)
    assert fitted.mean == believed.mean()
    expected = (believed - believed.mean()) / believed.std()
    np.testing.assert_allclose(fitted.encode(ages)["age"][:, 0].numpy(), expected, rtol=1e-6)
    assert NumberFeature(column="age").fit(ages).maximum == 250


def test_what_is_filled_is_clipped_too_and_what_is_missing_stays_so() -> None:
    filled = NumberFeature(column="age", clip=(18, 80), missing=FillNumber(fill=0), standardise=False).fit(
        pl.Series([30.0, None])
    )
    assert filled.encode(pl.Series([None, 20.0]))["age"].tolist() == [[18], [20]]
    own = NumberFeature(column="age", clip=(18, 80), missing="own", standardise=False).fit(pl.Series([30.0, 7.0]))
    assert own.encode(pl.Series([None, 1.0]))["age"].tolist() == [[24, 1], [18, 0]]


@pytest.mark.parametrize("clip", [[80, 18], [18, 18]])
def test_a_range_is_lowest_and_highest(clip: list[float]) -> None:
    with pytest.raises(ConfigError, match="clip: must be the lowest and the highest value, in this order; came"):
        parse_config(NumberFeature, {"column": "age", "clip": clip})
