"""Missing values become what was declared."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest

from twotower.data.fill import fill_missing
from twotower.errors import TableReadError


@pytest.mark.parametrize(
    ("values", "dtype", "wanted", "expected", "count"),
    [
        ([1, None], pl.Int64, 30, [1, 30], 1),
        ([1, None], pl.Int64, 30.0, [1, 30], 1),
        ([1.5, None, math.nan], pl.Float64, 30, [1.5, 30.0, 30.0], 2),
        ([1.5, None], pl.Float32, 2.5, [1.5, 2.5], 1),
        (["a", None, None], pl.String, "unknown", ["a", "unknown", "unknown"], 2),
        ([True, None], pl.Boolean, False, [True, False], 1),
        (["a"], pl.String, "unknown", ["a"], 0),
        ([None, None], pl.String, 30, [30, 30], 2),
        ([None, None], pl.String, 0.5, [0.5, 0.5], 2),
        ([None, None], pl.Null, "x", ["x", "x"], 2),
        ([None], pl.String, True, [True], 1),
    ],
)
def test_filled(values: list[Any], dtype: Any, wanted: Any, expected: list[Any], count: int) -> None:
    frame, filled = fill_missing(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), {"x": wanted}, noun="log")
    assert frame["x"].to_list() == expected
    assert [type(value) for value in frame["x"]] == [type(value) for value in expected]
    assert filled == {"x": count}
    if dtype in (pl.Float32, pl.Int64, pl.Float64):
        assert frame["x"].dtype == dtype


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([1, None], pl.Int64, "unknown"),
        ([1, None], pl.Int64, 0.5),
        ([1, None], pl.Int64, True),
        ([1, None], pl.UInt8, 300),
        ([1.0, None], pl.Float64, "x"),
        (["a", None], pl.String, 0),
        ([True, None], pl.Boolean, 0),
        ([["a"], None], pl.List(pl.String), "x"),
    ],
)
def test_a_fill_of_another_type_is_refused(values: list[Any], dtype: Any, wanted: Any) -> None:
    with pytest.raises(TableReadError, match=r"log: column 'x' is .*, and `fill` has .* for it"):
        fill_missing(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), {"x": wanted}, noun="log")


def test_a_fill_for_no_column() -> None:
    with pytest.raises(TableReadError, match="no column 'agge', which `fill` names; did you mean 'age'"):
        fill_missing(pl.DataFrame({"age": [1]}), {"agge": 1}, noun="log")
