"""Columns of categories: codes, and messages that name rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.errors import DataError
from twotower.preprocessing import CategoryFeature, TextFeature
from twotower.preprocessing.categories import category_codes, code_dtype, code_tensor


@pytest.mark.parametrize("num_categories", [1, 255, 256, 257, 32_767, 32_768, 70_000])
@pytest.mark.parametrize("with_null", [False, True])
def test_codes_point_at_the_categories_and_at_null(num_categories: int, with_null: bool) -> None:
    names = [f"{i:05}" for i in range(num_categories)]
    values: list[str | None] = [*names, *names[1:], None if with_null else names[0]]
    codes, distinct = category_codes(pl.Series(values, dtype=pl.Enum(names)))
    assert distinct.gather(codes.astype(np.int64)).to_list() == values
    assert len(distinct) == num_categories + with_null
    size = 1 if len(distinct) <= 256 else 2 if len(distinct) <= 32_768 else 4
    assert codes.dtype.itemsize == size
    assert code_tensor(codes).tolist() == codes.tolist()


def test_categories_without_rows_are_left_out_where_they_are_many() -> None:
    codes, distinct = category_codes(pl.Series(["z", None, "b"], dtype=pl.Enum([*"abcdefz"])))
    assert distinct.gather(codes.astype(np.int64)).to_list() == ["z", None, "b"]
    assert len(distinct) == 3
    codes, distinct = category_codes(pl.Series([], dtype=pl.Enum([*"abc"])))
    assert (len(codes), len(distinct), code_tensor(codes).shape) == (0, 0, (0,))


def test_other_columns_are_refused() -> None:
    with pytest.raises(TypeError, match="a column of Enum; came String"):
        category_codes(pl.Series(["a"]))


def test_the_narrowest_type() -> None:
    assert [code_dtype(size) for size in (1, 256, 257, 32_768, 32_769)] == [np.uint8, np.uint8, np.int16, np.int16, np.int32]


def test_messages_count_rows_and_not_categories() -> None:
    column = pl.Series(["a", "b", None, "a", None], dtype=pl.Enum(["a", "b"]))
    with pytest.raises(DataError, match="missing in 2 of 5 rows, first: 2, 4"):
        CategoryFeature(column="c").fit(column)
    fitted = CategoryFeature(column="c").fit(column.drop_nulls())
    with pytest.raises(DataError, match="missing in 2 of 5 rows, first: 2, 4"):
        fitted.encode(column)


def test_a_category_without_rows_is_not_learned_and_one_of_weight_zero_neither() -> None:
    column = pl.Series(["a b", "c", "a b"], dtype=pl.Enum(["a b", "c", "d"]))
    assert TextFeature(column="c").fit(column).tokens == ("a", "b", "c")
    assert TextFeature(column="c").fit(column, np.array([1, 0, 0])).tokens == ("a", "b")
    with pytest.raises(ValueError, match="one entry per row"):
        TextFeature(column="c").fit(column, np.array([1, 0]))
