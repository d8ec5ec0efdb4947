"""Types of columns: what is inferred, what is declared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import get_args

import polars as pl
import pytest

from twotower.data.column_types import ColumnType, declare_types, infer_types
from twotower.errors import TableReadError


def declared(values: pl.Series, column_type: ColumnType) -> pl.Series:
    frame, _ = declare_types(values.to_frame("x"), {"x": column_type}, noun="ratings", locate=lambda row: f"row {row}")
    return frame["x"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", None], [1, -20, None]),
        (["1", "2.5", "1e-3"], [1.0, 2.5, 0.001]),
        (["1", "007"], ["1", "007"]),
        (["1.5", "00.5"], ["1.5", "00.5"]),
        (["1", "x"], ["1", "x"]),
        (["1", " 2"], ["1", " 2"]),
        (["9223372036854775807"], [9223372036854775807]),
        (["9223372036854775808"], ["9223372036854775808"]),
        (["12345678901234567890", "1.5"], ["12345678901234567890", "1.5"]),
        (["true", "false"], ["true", "false"]),
        (["nan"], ["nan"]),
        ([None, None], [None, None]),
    ],
)
def test_inference_loses_no_digit(values: list[str | None], expected: list[object]) -> None:
    frame = infer_types(pl.DataFrame({"x": pl.Series(values, dtype=pl.String)}), declared={})
    assert frame["x"].to_list() == expected
    assert [type(value) for value in frame["x"]] == [type(value) for value in expected]


def test_declared_columns_are_not_inferred() -> None:
    frame = infer_types(pl.DataFrame({"x": ["1"], "y": ["1"]}), declared={"x": "string"})
    assert frame.rows() == [("1", 1)]


@pytest.mark.parametrize(
    ("values", "column_type", "expected"),
    [
        (pl.Series([1, None]), "string", ["1", None]),
        (pl.Series(["007", "-3"]), "integer", [7, -3]),
        (pl.Series([2.0, None]), "integer", [2, None]),
        (pl.Series(["1", "2.5"]), "float", [1.0, 2.5]),
        (pl.Series([3]), "float", [3.0]),
        (pl.Series(["true", "FALSE", "1", "0", None]), "boolean", [True, False, True, False, None]),
        (pl.Series([1, 0]), "boolean", [True, False]),
        (pl.Series([True]), "boolean", [True]),
        (pl.Series(["7", None], dtype=pl.Categorical), "integer", [7, None]),
        (pl.Series([b"7", None]), "string", ["7", None]),
        (pl.Series([Decimal("7.00"), None]), "integer", [7, None]),
    ],
)
def test_declared(values: pl.Series, column_type: ColumnType, expected: list[object]) -> None:
    converted = declared(values, column_type)
    assert converted.to_list() == expected
    assert [type(value) for value in converted] == [type(value) for value in expected]


@pytest.mark.parametrize(
    "text",
    ["2024-01-31T08:30:00Z", "2024-01-31 08:30:00", "2024-01-31T09:30:00+01:00", "2024-01-31 08:30", "2024-01-31T08:30:00.000"],
)
def test_datetimes_are_iso_and_utc(text: str) -> None:
    converted = declared(pl.Series([text, "1970-01-01"]), "datetime")
    assert converted.dtype == pl.Datetime("us")
    assert converted.to_list() == [datetime(2024, 1, 31, 8, 30), datetime(1970, 1, 1)]


def test_datetimes_from_dates_and_other_zones() -> None:
    assert declared(pl.Series([datetime(2024, 5, 1)]).cast(pl.Date), "datetime").to_list() == [datetime(2024, 5, 1)]
    zoned = pl.Series([datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=0)))]).dt.convert_time_zone("Asia/Tokyo")
    assert declared(zoned, "datetime").to_list() == [datetime(2024, 5, 1, 12, tzinfo=UTC).replace(tzinfo=None)]


@pytest.mark.parametrize(
    ("values", "column_type", "shown"),
    [
        (pl.Series(["1", "x", "y"]), "integer", "row 1 holds 'x'"),
        (pl.Series(["1.5"]), "integer", "row 0 holds '1.5'"),
        (pl.Series([1.0, 2.5]), "integer", "row 1 holds 2.5"),
        (pl.Series([1.0, float("nan")]), "integer", "row 1 holds nan"),
        (pl.Series(["4 stars"]), "float", "row 0 holds '4 stars'"),
        (pl.Series(["31.01.2024"]), "datetime", "ISO 8601"),
        (pl.Series([1700000000]), "datetime", "row 0 holds 1700000000"),
        (pl.Series([datetime(2024, 1, 1)]), "integer", "row 0 holds datetime"),
        (pl.Series(["yes"]), "boolean", "true, false, 1 or 0"),
        (pl.Series([Decimal("7.50")]), "integer", "row 0 holds Decimal"),
        (pl.Series([b"7", b"\xff"]), "string", r"row 1 holds b'\\xff'"),
        (pl.Series([timedelta(1)]), "string", "row 0 holds datetime.timedelta"),
    ],
)
def test_values_of_another_type(values: pl.Series, column_type: ColumnType, shown: str) -> None:
    with pytest.raises(TableReadError, match=f"ratings: column 'x' is declared {column_type}.*{shown}"):
        declared(values, column_type)


@pytest.mark.parametrize("kind", get_args(ColumnType))
@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pl.Series([None, ["7"]]), r"\['7'\]"),
        (pl.Series([None, [7]], dtype=pl.Array(pl.Int64, 1)), r"\[7\]"),
        (pl.Series([None, {"a": 7}]), r"\{'a': 7\}"),
        (pl.Series([None, range(7)], dtype=pl.Object), r"range\(0, 7\)"),
    ],
)
def test_what_is_no_single_value(values: pl.Series, shown: str, kind: ColumnType) -> None:
    with pytest.raises(TableReadError, match=f"declared {kind}, but row 1 holds {shown}; correct"):
        declared(values, kind)
    nothing, text = declared(values[:1], kind), declared(pl.Series([None], dtype=pl.String), kind)
    assert nothing.to_list() == [None]
    assert nothing.dtype == text.dtype


def test_a_declared_column_that_is_missing() -> None:
    with pytest.raises(TableReadError, match="no column 'ratng', which `types` declares; did you mean 'rating'"):
        declare_types(pl.DataFrame({"rating": [1]}), {"ratng": "float"}, noun="x", locate=str)
