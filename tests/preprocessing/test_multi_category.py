"""Several categories per row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from twotower.errors import DataError
from twotower.preprocessing import FittedMultiCategory, MultiCategoryFeature
from twotower.spec import RowsColumn


def lists(fitted: FittedMultiCategory, column: pl.Series) -> list[list[int]]:
    ragged = fitted.encode(column)["g"]
    ends = ragged.offsets.tolist()
    values = ragged.values.tolist()
    return [values[start:end] for start, end in pairwise(ends)]


def test_lists_in_the_order_of_the_table() -> None:
    fitted = MultiCategoryFeature(column="g").fit(pl.Series([["b", "a"], ["b"], None, []]))
    column = pl.Series([["b", "x", "a"], [], None, ["b", None, "b"]])
    assert lists(fitted, column) == [[2, 0, 1], [], [], [2, 2]]
    assert fitted.columns == (RowsColumn(name="g", vocabulary_size=3, ragged=True),)


def test_a_separator_splits_text() -> None:
    fitted = MultiCategoryFeature(column="g", separator="|").fit(pl.Series(["Sci-Fi| Drama ", "Drama||", None, ""]))
    assert fitted.lookup.ids.to_list() == ["Drama", "Sci-Fi"]
    assert lists(fitted, pl.Series(["Drama|Sci-Fi", " Sci-Fi |x|", "", None, "|"])) == [[1, 2], [2, 0], [], [], []]


def test_the_separator_is_no_pattern() -> None:
    fitted = MultiCategoryFeature(column="g", separator=".").fit(pl.Series(["a.b"]))
    assert fitted.lookup.ids.to_list() == ["a", "b"]


def test_max_values_reads_the_first_that_are_values() -> None:
    train = pl.Series(["| a|b|c", "c"])
    fitted = MultiCategoryFeature(column="g", separator="|", max_values=2).fit(train)
    assert fitted.lookup.ids.to_list() == ["a", "b", "c"]
    assert lists(fitted, train) == [[1, 2], [3]]
    unlimited = MultiCategoryFeature(column="g", separator="|").fit(train)
    assert lists(unlimited, train) == [[1, 2, 3], [3]]
    nulls = MultiCategoryFeature(column="g", max_values=1).fit(pl.Series([[None, "z", "y"]]))
    assert nulls.lookup.ids.to_list() == ["z"]


def test_min_count_counts_the_interactions_of_the_row() -> None:
    column = pl.Series([["a", "b"], ["b"], ["c"]])
    config = MultiCategoryFeature(column="g", min_count=2)
    assert config.fit(column).lookup.ids.to_list() == ["b"]
    assert config.fit(column, np.array([2, 0, 1])).lookup.ids.to_list() == ["a", "b"]
    assert MultiCategoryFeature(column="g").fit(column, np.array([2, 0, 0])).lookup.ids.to_list() == ["a", "b"]


def test_lists_of_integers_and_arrays() -> None:
    fitted = MultiCategoryFeature(column="g").fit(pl.Series([[5, 3]]))
    assert lists(fitted, pl.Series([[3, 5], [4, 3]], dtype=pl.Array(pl.Int32, 2))) == [[1, 2], [0, 1]]


def test_a_column_without_any_value_encodes_to_empty_rows() -> None:
    fitted = MultiCategoryFeature(column="g").fit(pl.Series([["a"]]))
    assert lists(fitted, pl.Series([None, None])) == [[], []]
    assert lists(fitted, pl.Series([[], []], dtype=pl.List(pl.String))) == [[], []]


def test_other_types_are_refused() -> None:
    with pytest.raises(DataError, match="'g' must hold lists, or declare the separator of its text; it holds String"):
        MultiCategoryFeature(column="g").fit(pl.Series(["a|b"]))
    with pytest.raises(DataError, match=r"'g' must hold text with the separator '\|'; it holds List\(String\)"):
        MultiCategoryFeature(column="g", separator="|").fit(pl.Series([["a"]]))
    with pytest.raises(DataError, match="'g' must hold text or integers; it holds Float64"):
        MultiCategoryFeature(column="g").fit(pl.Series([[1.5]]))
    with pytest.raises(DataError, match="'g' must have a value"):
        MultiCategoryFeature(column="g").fit(pl.Series([[], None], dtype=pl.List(pl.String)))
