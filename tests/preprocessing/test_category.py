"""Categories and their missing values."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.errors import DataError
from twotower.preprocessing import CategoryFeature, FillCategory
from twotower.spec import RowsColumn

TRAIN = pl.Series(["drama", "action", "drama", None])
LATER = pl.Series(["action", "drama", "western", None])


def test_missing_is_an_error_unless_declared() -> None:
    with pytest.raises(DataError, match=r"'genre'.*1 of 4 rows, first: 3; declare missing = 'own_row' or"):
        CategoryFeature(column="genre").fit(TRAIN)
    fitted = CategoryFeature(column="genre").fit(TRAIN.drop_nulls())
    assert fitted.encode(LATER.drop_nulls())["genre"].tolist() == [1, 2, 0]
    with pytest.raises(DataError, match="1 of 4 rows, first: 3"):
        fitted.encode(LATER)


def test_own_row_is_the_last_and_not_the_unknown() -> None:
    fitted = CategoryFeature(column="genre", missing="own_row").fit(TRAIN)
    assert fitted.encode(LATER)["genre"].tolist() == [1, 2, 0, 3]
    assert fitted.columns == (RowsColumn(name="genre", vocabulary_size=4),)


def test_fill_counts_in_fitting_and_stands_in_later() -> None:
    new = CategoryFeature(column="genre", missing=FillCategory(fill="none")).fit(TRAIN)
    assert new.encode(LATER)["genre"].tolist() == [1, 2, 0, 3]
    assert new.columns == (RowsColumn(name="genre", vocabulary_size=4),)
    old = CategoryFeature(column="genre", missing=FillCategory(fill="action"), min_count=2).fit(TRAIN)
    assert old.encode(LATER)["genre"].tolist() == [1, 2, 0, 1]


def test_fill_where_every_value_is_missing() -> None:
    fitted = CategoryFeature(column="genre", missing=FillCategory(fill="action")).fit(TRAIN)
    assert fitted.encode(pl.Series([None, None]))["genre"].tolist() == [1, 1]
    assert fitted.encode(pl.Series([], dtype=pl.String))["genre"].tolist() == []
    integers = CategoryFeature(column="year", missing=FillCategory(fill=7)).fit(pl.Series([3, 7]))
    assert integers.encode(pl.Series([None, None]))["year"].tolist() == [2, 2]


def test_fill_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match=r"'genre' holds String.*filled with 3, another type"):
        CategoryFeature(column="genre", missing=FillCategory(fill=3)).fit(TRAIN)
    with pytest.raises(DataError, match=r"holds Int64.*filled with 'x', another type"):
        CategoryFeature(column="genre", missing=FillCategory(fill="x")).fit(pl.Series([1, None]))


def test_min_count_leaves_rare_values_to_row_zero() -> None:
    fitted = CategoryFeature(column="genre", min_count=2).fit(pl.Series(["a", "b", "b"]))
    assert fitted.encode(pl.Series(["a", "b"]))["genre"].tolist() == [0, 1]
    weighted = CategoryFeature(column="genre", min_count=2).fit(pl.Series(["a", "b"]), np.array([2, 1]))
    assert weighted.encode(pl.Series(["a", "b"]))["genre"].tolist() == [1, 0]


def test_integers_and_booleans_are_categories_too() -> None:
    assert CategoryFeature(column="year").fit(pl.Series([1999, 1984])).encode(pl.Series([1984, 2]))["year"].tolist() == [1, 0]
    fitted = CategoryFeature(column="new", missing="own_row").fit(pl.Series([True, False, None]))
    assert fitted.encode(pl.Series([True, False, None]))["new"].tolist() == [2, 1, 3]
