"""Conditions on columns, held to reading the rows one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.errors import ConfigError, DataError
from twotower.recommender.filters import key_of, matching

DAYS = [date(2020, 1, 1) + timedelta(days=day) for day in range(4)]
MOMENTS = [datetime(2020, 1, 1, 6 * quarter) for quarter in range(4)]

# by name of a column: its type, the values that it may hold, and what may be asked for
COLUMNS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "whole": (pl.Int64, [-1, 0, 1, 7, 2**53 + 1], [-1, 0, 1, 2, 7, 0.5, 2**53 + 1]),
    "small": (pl.Int8, [-1, 0, 1, 7], [-1, 0, 1, 7, 300, 0.5, -(2**62)]),
    "unsigned": (pl.UInt64, [0, 1, 7, 2**62], [-1, 0, 7, 1.5, 2**62]),
    "float": (pl.Float64, [-0.5, 0.0, 0.1, 2.0, math.nan, math.inf, -math.inf], [-0.5, 0, 0.1, 2, 3]),
    "single": (pl.Float32, [-0.5, 0.0, 0.25, 2.0, math.nan], [-0.5, 0, 0.25, 2, 3]),
    "text": (pl.String, ["", "a", "B", "ab", "ä", "10", "9"], ["", "a", "B", "zz", "10"]),
    "kind": (pl.Categorical, ["a", "b", "c"], ["a", "b", "zz"]),
    "enum": (pl.Enum(["c", "a", "b"]), ["a", "b", "c"], ["a", "b", "zz"]),
    "flag": (pl.Boolean, [True, False], [True, False]),
    "tags": (pl.List(pl.String), [[], ["a"], ["a", "b"], ["b", None]], ["a", "b", "zz"]),
    "numbers": (pl.List(pl.Int32), [[], [1], [1, 2], [None]], [1, 2, 3, 1.5]),
    "weights": (pl.List(pl.Float64), [[], [0.5], [0.5, math.nan]], [0.5, 1]),
    "pair": (pl.Array(pl.Int64, 2), [[1, 2], [2, 3]], [1, 3, 9]),
    "genres": (pl.String, ["", "a", "a|b", " a | c ", "b||"], ["a", "b", "zz", "a|b", ""]),
    "day": (pl.Date, DAYS, [day.isoformat() for day in DAYS] + ["1999-12-31"]),
    "at": (pl.Datetime("us"), MOMENTS, [moment.isoformat() for moment in MOMENTS]),
}
NESTED = {"tags", "numbers", "weights", "pair", "genres"}
UNORDERED = {"tags", "numbers", "weights", "pair", "flag", "genres"}


def meets(name: str, value: Any, condition: Any) -> bool:
    """Whether one cell meets one condition."""
    if isinstance(condition, Mapping) and "not" in condition:
        return not meets(name, value, condition["not"])
    if value is None:
        return False
    if name == "day":
        value = value.isoformat()
    if name == "at":
        value = value.isoformat()
    if isinstance(condition, Mapping):
        if isinstance(value, float) and math.isnan(value):
            return False
        return not ("min" in condition and value < condition["min"]) and not ("max" in condition and value > condition["max"])
    asked = condition if isinstance(condition, list | tuple) else [condition]
    if name == "genres":
        value = [part.strip() for part in value.split("|")]
    values = value if name in NESTED else [value]
    return any(one == other for one in values if one is not None for other in asked)


def conditions(name: str) -> st.SearchStrategy[Any]:
    asked = st.sampled_from(COLUMNS[name][2])
    values = asked | st.lists(asked, max_size=3) | st.lists(asked, max_size=2).map(tuple)
    found = values | st.fixed_dictionaries({"not": values})
    if name not in UNORDERED:
        bounds = st.fixed_dictionaries({}, optional={"min": asked, "max": asked}).filter(len)
        found |= bounds
    return found


@st.composite
def tables(draw: st.DrawFn) -> tuple[pl.DataFrame, dict[str, Any]]:
    size = draw(st.integers(0, 6))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3, unique=True))
    columns = []
    for name in names:
        dtype, values, _ = COLUMNS[name]
        column = draw(st.lists(st.none() | st.sampled_from(values), min_size=size, max_size=size))
        columns.append(pl.Series(name, column, dtype=dtype))
    asked = draw(st.lists(st.sampled_from(names), unique=True))
    return pl.DataFrame(columns), {name: draw(conditions(name)) for name in asked}


@settings(max_examples=400, deadline=None)
@given(tables())
def test_the_rows_that_meet_all_conditions(table: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    frame, where = table
    found = matching(frame, where, separators={"genres": "|"})
    assert found.dtype == pl.Boolean
    assert found.null_count() == 0
    assert found.to_list() == [all(meets(name, row[name], where[name]) for name in where) for row in frame.to_dicts()]


@pytest.mark.parametrize("name", list(COLUMNS))
def test_every_value_of_every_kind_of_column(name: str) -> None:
    dtype, values, asked = COLUMNS[name]
    frame = pl.DataFrame({name: pl.Series([*values, None], dtype=dtype)})
    for value in asked:
        wishes: list[Any] = [value, [value], {"not": value}, {"not": [value, asked[0]]}]
        wishes += [] if name in UNORDERED else [{"min": value}, {"max": value}, {"min": asked[0], "max": value}]
        for condition in wishes:
            found = matching(frame, {name: condition}, separators={"genres": "|"}).to_list()
            assert found == [meets(name, cell, condition) for cell in frame[name].to_list()], condition


def test_a_number_is_that_of_the_column_however_exact_it_is_kept() -> None:
    frame = pl.DataFrame({"price": pl.Series([0.1, 0.3, 20.15], dtype=pl.Float32)})
    assert matching(frame, {"price": 0.1}).to_list() == [True, False, False]
    assert matching(frame, {"price": [0.3, 20.15]}).to_list() == [False, True, True]
    assert matching(frame, {"price": {"not": 20.15}}).to_list() == [True, True, False]
    for price in (0.1, 0.3, 20.15):
        assert matching(frame, {"price": {"min": price, "max": price}}).sum() == 1
    assert matching(frame, {"price": {"min": 1e300}}).to_list() == [False] * 3
    assert matching(frame, {"price": {"max": 1e300}}).to_list() == [True] * 3
    endless = pl.DataFrame({"price": pl.Series([math.inf, -math.inf, 1.0], dtype=pl.Float32)})
    assert matching(endless, {"price": {"max": 1e300}}).to_list() == [False, True, True]
    assert matching(endless, {"price": {"min": -1e300}}).to_list() == [True, False, True]
    lists = pl.DataFrame({"prices": pl.Series([[0.1], [0.2, 0.3]], dtype=pl.List(pl.Float32))})
    assert matching(lists, {"prices": 0.3}).to_list() == [False, True]


def test_whole_numbers_are_exact() -> None:
    frame = pl.DataFrame({"n": [2**53, 2**53 + 1, None]})
    assert matching(frame, {"n": 2**53 + 1}).to_list() == [False, True, False]
    assert matching(frame, {"n": {"min": 2**53 + 1}}).to_list() == [False, True, False]
    assert matching(frame, {"n": {"min": 2.0**53}}).to_list() == [True, True, False]
    for huge in (2**63, 2**80, 10**400, 1e300):
        assert matching(frame, {"n": [huge, 2**53]}).to_list() == [True, False, False]
        assert matching(frame, {"n": {"min": huge}}).sum() == matching(frame, {"n": {"max": -huge}}).sum() == 0
        assert matching(frame, {"n": {"max": huge}}).to_list() == [True, True, False]
        assert matching(frame, {"n": {"min": -huge}}).to_list() == [True, True, False]


def test_separators_are_of_text_alone_and_blanks_are_cut_off() -> None:
    frame = pl.DataFrame({"genres": [["a|b"], ["c"]], "more": ["a, b", "b ,c"]})
    separators = {"genres": "|", "more": ",", "none": ";"}
    assert matching(frame, {"genres": "a|b"}, separators=separators).to_list() == [True, False]
    assert matching(frame, {"more": ["c", "a"]}, separators=separators).to_list() == [True, True]
    assert matching(frame, {"more": "b"}, separators=separators).to_list() == [True, True]
    assert matching(frame, {"more": "b"}).to_list() == [False, False]
    assert matching(frame, {}).to_list() == [True, True]


FRAME = pl.DataFrame(
    {
        "year": [1990, None],
        "small": pl.Series([1, 2], dtype=pl.Int8),
        "rating": [1.5, 2.0],
        "title": ["a", "b"],
        "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
        "flag": [True, None],
        "tags": [["a"], None],
        "numbers": [[1], None],
        "day": DAYS[:2],
        "length": pl.Series([timedelta(1), None]),
        "image": pl.Series([b"1", None]),
        "person": pl.Series([{"name": "ann"}, None]),
        "people": pl.Series([[{"name": "ann"}], None]),
        "nothing": pl.Series([None, None]),
    }
)


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ({"yaer": 1}, ConfigError, "no column 'yaer' in the catalogue; did you mean 'year'"),
        ({"year": {}}, ConfigError, "a condition is a value, a list of values, or has min, max or not; came {}"),
        ({"year": {"least": 1}}, ConfigError, "has min, max or not; came {'least': 1}"),
        ({"year": {"min": 1, "not": 2}}, ConfigError, "has min, max or not"),
        ({"year": {"not": {"min": 1}}}, ConfigError, "'not' takes a value or a list of values; came {'min': 1}"),
        ({"tags": {"min": "a"}}, ConfigError, "'tags' is List.*, which has no order"),
        ({"flag": {"max": True}}, ConfigError, "'flag' is Boolean, which has no order"),
        ({"year": "1990"}, DataError, "column 'year' holds Int64; came '1990'"),
        ({"year": True}, DataError, "column 'year' holds Int64; came True"),
        ({"year": None}, DataError, "column 'year' holds Int64; came None"),
        ({"year": [1990, None]}, DataError, "came None"),
        ({"year": [[1990]]}, DataError, r"came \[1990\]"),
        ({"year": math.nan}, DataError, "came nan"),
        ({"year": {"min": math.inf}}, DataError, "came inf"),
        ({"year": -math.inf}, DataError, "came -inf"),
        ({"year": {"min": [1, 2]}}, DataError, r"came \[1, 2\]"),
        ({"year": {"min": None}}, DataError, "came None"),
        ({"rating": 10**400}, DataError, "column 'rating' holds Float64; came"),
        ({"rating": "high"}, DataError, "holds Float64; came 'high'"),
        ({"title": 5}, DataError, "column 'title' holds String; came 5"),
        ({"title": {"min": 5}}, DataError, "holds String; came 5"),
        ({"kind": 5}, DataError, "column 'kind' holds String; came 5"),
        ({"flag": 1}, DataError, "column 'flag' holds Boolean; came 1"),
        ({"flag": "true"}, DataError, "holds Boolean; came 'true'"),
        ({"tags": 5}, DataError, "column 'tags' holds String; came 5"),
        ({"numbers": "1"}, DataError, "column 'numbers' holds Int64; came '1'"),
        ({"day": "yesterday"}, DataError, "column 'day' holds Date; came"),
        ({"day": 20200101}, DataError, "column 'day' holds Date; came 20200101"),
        ({"length": "a day"}, DataError, "column 'length' holds Duration"),
        ({"image": "1"}, DataError, "column 'image' holds Binary"),
        ({"person": "ann"}, DataError, "column 'person' holds Struct"),
        ({"people": ["ann"]}, DataError, "column 'people' holds"),
        ({"title": "\ud800"}, DataError, "column 'title' holds String"),
        ({"title": {1}}, DataError, "holds String"),
        ({"year": {1: 2}}, ConfigError, "has min, max or not"),
    ],
)
def test_what_is_no_condition(where: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        matching(FRAME, where)
    assert str(caught.value).startswith("where")
    assert type(caught.value) is error


@pytest.mark.parametrize("where", [5, "year", [1], [("year", 1)], None])
def test_conditions_come_as_a_mapping(where: Any) -> None:
    for function in (lambda: matching(FRAME, where), lambda: key_of(where)):
        with pytest.raises(ConfigError, match="where: must be a mapping of columns to conditions"):
            function()


def test_times_in_iso_8601() -> None:
    moments = pl.Series([datetime(2020, 1, 1, 12), datetime(2020, 1, 2), None])
    zone = moments.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    clock = pl.Series([time(12), time(0, 30), None])
    frame = pl.DataFrame({"at": moments, "ms": moments.dt.cast_time_unit("ms"), "zone": zone, "clock": clock})
    for name in ("at", "ms", "zone"):
        for text in ("2020-01-01T12:00:00", "2020-01-01T12:00:00Z", "2020-01-01T14:00:00+02:00", "2020-01-01 12:00"):
            assert matching(frame, {name: text}).to_list() == [True, False, False], (name, text)
        assert matching(frame, {name: {"min": "2020-01-02"}}).to_list() == [False, True, False]
        with pytest.raises(DataError, match=f"where: column '{name}' holds Datetime"):
            matching(frame, {name: "noon"})
    assert matching(frame, {"clock": {"max": "01:00"}}).to_list() == [False, True, False]


def test_decimals_are_numbers() -> None:
    frame = pl.DataFrame({"price": pl.Series(["1.10", "2.00", None]).str.to_decimal(scale=2)})
    assert matching(frame, {"price": [1.1, 3]}).to_list() == [True, False, False]
    assert matching(frame, {"price": {"min": 2}}).to_list() == [False, True, False]


def test_a_column_of_nothing_meets_nothing() -> None:
    assert matching(FRAME, {"nothing": "a"}).to_list() == [False, False]
    assert matching(FRAME, {"nothing": {"not": "a"}}).to_list() == [True, True]


def test_keys() -> None:
    same: list[Any] = [{"a": 1, "b": {"min": 1, "max": 2}}, {"b": {"max": 2, "min": 1}, "a": 1}]
    assert key_of(same[0]) == key_of(same[1])
    assert key_of({"a": (1, 2)}) == key_of({"a": [1, 2]})
    plain: list[Any] = [1, 1.5, True, "1", "true", [1], {"not": 1}, {"min": 1}, "\u00e4", "a\u0308", [1, 2], [2, 1], ["1", "2"]]
    different: list[Any] = [{}, {"b": 1}, {"a": 1, "b": 1}, {"a": ["1, 2"]}, *({"a": value} for value in plain)]
    assert len({key_of(where) for where in different}) == len(different)
    for where in different:
        assert json.loads(key_of(where)) == where


@pytest.mark.parametrize(
    "where",
    [{"a": math.nan}, {"a": [math.inf]}, {"a": {1}}, {"a": object()}, {1: 2}, {"a": {1: 2}}, {"a": b"a"}],
)
def test_conditions_that_have_no_key(where: Any) -> None:
    with pytest.raises(ConfigError, match="where"):
        key_of(where)
