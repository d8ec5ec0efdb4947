"""Ids, times and weights in their one form."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from twotower.data.id_columns import as_ids, as_unix_seconds, as_weights, require_columns, require_same_id_type
from twotower.errors import DataError


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pl.Series("u", ["a", None]), pl.String),
        (pl.Series("u", [1, None]), pl.Int64),
        (pl.Series("u", [1, 2], dtype=pl.Int8), pl.Int64),
        (pl.Series("u", [1, 2], dtype=pl.UInt64), pl.Int64),
        (pl.Series("u", ["a", "b"], dtype=pl.Categorical), pl.String),
        (pl.Series("u", ["a"], dtype=pl.Enum(["a", "b"])), pl.String),
        (pl.Series("u", [None], dtype=pl.Null), pl.String),
    ],
)
def test_ids(values: pl.Series, dtype: type[pl.DataType]) -> None:
    ids = as_ids(values, noun="user")
    assert ids.dtype == dtype
    assert ids.to_list() == values.to_list()
    assert ids.name == "u"


def test_ids_of_other_types() -> None:
    with pytest.raises(DataError, match=r"user ids in 'u' must be text or integers; came Float64 such as \[1.0, 2.0\]; cast"):
        as_ids(pl.Series("u", [1.0, None, 2.0]), noun="user")
    with pytest.raises(DataError, match="came Boolean"):
        as_ids(pl.Series("u", [True]), noun="user")
    with pytest.raises(DataError, match="row 1 holds 18446744073709551615"):
        as_ids(pl.Series("u", [1, 2**64 - 1], dtype=pl.UInt64), noun="user")


def test_text_is_never_compared_with_integers() -> None:
    with pytest.raises(DataError, match=r"'i' is Int64 \(7\), but 'id' in the catalogue is String \('7'\)"):
        require_same_id_type(pl.Series("i", [7]), pl.Series("id", ["7"]), noun="item", other="catalogue")
    require_same_id_type(pl.Series("i", [7]), pl.Series("id", [8]), noun="item", other="catalogue")


def test_missing_columns_all_at_once() -> None:
    with pytest.raises(
        DataError, match=r"(?s)'usr_id' \(declared as user\); did you mean 'user_id'\?.*'thing' \(declared as item\)"
    ):
        require_columns(pl.DataFrame({"user_id": [1]}), {"user": "usr_id", "item": "thing"}, noun="interactions")


def test_numbers_are_seconds_already() -> None:
    assert as_unix_seconds(pl.Series("t", [5, -3], dtype=pl.Int32)).dtype == pl.Int64
    half = as_unix_seconds(pl.Series("t", [5, 2.5], dtype=pl.Float32, strict=False))
    assert half.dtype == pl.Float64
    assert half.to_list() == [5.0, 2.5]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_become_seconds(unit: pl.datatypes.DataType) -> None:
    times = [datetime(2024, 1, 31, 8, 30, 1), datetime(1960, 2, 3)]
    whole = as_unix_seconds(pl.Series("t", times).cast(pl.Datetime(unit)))  # type: ignore[arg-type]
    assert whole.dtype == pl.Int64
    assert whole.to_list() == [int(time.replace(tzinfo=UTC).timestamp()) for time in times]
    fractions = as_unix_seconds(pl.Series("t", [t + timedelta(milliseconds=250) for t in times]).cast(pl.Datetime(unit)))  # type: ignore[arg-type]
    assert fractions.dtype == pl.Float64
    assert fractions.to_list() == [time.replace(tzinfo=UTC).timestamp() + 0.25 for time in times]


def test_dates_and_zones() -> None:
    assert as_unix_seconds(pl.Series("t", [date(1970, 1, 2)])).to_list() == [86_400]
    zoned = pl.Series("t", [datetime(1970, 1, 1, tzinfo=UTC)]).dt.convert_time_zone("Asia/Tokyo")
    assert as_unix_seconds(zoned).to_list() == [0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pl.Series("t", ["2024-01-01"]), r"came text such as '2024-01-01'; declare types = \{'t': 'datetime'\}"),
        (pl.Series("t", [True]), "came Boolean"),
        (pl.Series("t", [1, None, 3, None]), r"2 rows are not \(row 1: None, row 3: None\)"),
        (pl.Series("t", [1.0, float("nan")]), r"1 rows are not \(row 1: nan\)"),
        (pl.Series("t", [1.0, float("inf"), None]), r"2 rows are not \(row 1: inf, row 2: None\)"),
        (pl.Series("t", [date(2024, 1, 1), None]), "row 1: None"),
        (pl.Series("t", [1, 1_700_000_000_000]), "row 1 holds 1700000000000, which looks like milliseconds"),
        (pl.Series("t", [2**64 - 1], dtype=pl.UInt64), "milliseconds"),
        (pl.Series("t", [-1.7e12]), "milliseconds"),
    ],
)
def test_times_that_are_none(values: pl.Series, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_unix_seconds(values)


def test_weights() -> None:
    values = pl.Series("w", [0, 2], dtype=pl.Int8)
    assert as_weights(values).equals(values)
    for bad, shown in ((-1.0, "-1.0"), (float("nan"), "nan"), (float("inf"), "inf"), (None, "None")):
        with pytest.raises(DataError, match=rf"finite and at least 0 in every row; 1 rows are not \(row 1: {shown}\)"):
            as_weights(pl.Series("w", [1.0, bad]))
    with pytest.raises(DataError, match="must be numbers; came String"):
        as_weights(pl.Series("w", ["1"]))


def test_faults_of_a_converted_column_are_those_of_text() -> None:
    column = pl.Series("at", ["2024-01-31", "2024-02-01"])
    for check, says in (
        (as_unix_seconds, r"came text such as '2024-01-31'; declare types"),
        (as_weights, "came String; declare"),
    ):
        for coded in (column, column.cast(pl.Enum(column))):
            with pytest.raises(DataError, match=says):
                check(coded)
