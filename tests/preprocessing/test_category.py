"""Categories and their missing values."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
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


COMPOSITE = pl.Series(["meetme:12", "pof:7", "meetme:9", "lone", ":5", "skout:", None])


def test_a_part_is_the_category_and_a_value_without_it_is_missing() -> None:
    network = CategoryFeature(column="viewer", name="network", separator=":", part=0, missing="own_row").fit(COMPOSITE)
    # lone, meetme, pof, skout
    assert network.columns == (RowsColumn(name="network", vocabulary_size=6),)
    assert network.encode(COMPOSITE)["network"].tolist() == [2, 3, 2, 1, 5, 4, 5]
    number = CategoryFeature(column="viewer", separator=":", part=1, missing="own_row").fit(COMPOSITE)
    # 12, 5, 7, 9
    assert number.encode(COMPOSITE)["viewer"].tolist() == [1, 3, 4, 5, 2, 5, 5]
    assert number.encode(pl.Series(["zoo:7", "7"]))["viewer"].tolist() == [3, 5]


def test_the_separator_of_a_part_is_no_pattern_and_may_be_long() -> None:
    fitted = CategoryFeature(column="c", separator=".*", part=1).fit(pl.Series(["a.*b", "c.*d.*e"]))
    assert fitted.lookup.ids.to_list() == ["b", "d"]


def test_a_missing_part_is_an_error_or_filled() -> None:
    with pytest.raises(DataError, match=r"'viewer' must not have missing values; missing in 3 of 7 rows, first: 3, 5, 6"):
        CategoryFeature(column="viewer", separator=":", part=1).fit(COMPOSITE)
    filled = CategoryFeature(column="viewer", separator=":", part=0, missing=FillCategory(fill="pof")).fit(COMPOSITE)
    assert filled.encode(pl.Series([None, ":1", "pof:1", "meetme:1"]))["viewer"].tolist() == [3, 3, 3, 2]


def test_a_part_needs_text_and_a_separator() -> None:
    with pytest.raises(DataError, match="must hold text with the separator ':'; it holds Int64"):
        CategoryFeature(column="viewer", separator=":", part=0).fit(pl.Series([1, 2]))
    for half in ({"separator": ":"}, {"part": 0}):
        with pytest.raises(ConfigError, match="separator and part go together"):
            parse_config(CategoryFeature, {"column": "c", **half})
