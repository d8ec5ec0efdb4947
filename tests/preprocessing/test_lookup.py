"""Values to rows, against a dictionary."""

from __future__ import annotations

import string
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.errors import DataError
from twotower.preprocessing.lookup import Lookup, distinct, id_values, value_totals

TEXTS = st.lists(st.one_of(st.none(), st.text(alphabet=string.ascii_letters + "éßπ日😀 0", max_size=2)), max_size=30)
INTEGERS = st.lists(st.one_of(st.none(), st.integers(min_value=-(2**63), max_value=2**63 - 1)), max_size=30)


def oracle(train: list[str | int | None], counts: list[int], min_count: int) -> list[str | int]:
    totals: Counter[str | int] = Counter()
    for value, count in zip(train, counts, strict=True):
        if value is not None:
            totals[value] += count
    return sorted(
        (value for value, count in totals.items() if count >= min_count), key=lambda value: (isinstance(value, str), value)
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), integers=st.booleans(), min_count=st.integers(1, 3))
def test_fit_and_rows_are_those_of_a_dictionary(data: st.DataObject, integers: bool, min_count: int) -> None:
    dtype = pl.Int64 if integers else pl.String
    train: list[str | int | None] = list(data.draw(INTEGERS) if integers else data.draw(TEXTS))
    later: list[str | int | None] = list(data.draw(INTEGERS) if integers else data.draw(TEXTS))
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(train), max_size=len(train)))
    known = oracle(train, counts, min_count)
    column = pl.Series(train, dtype=dtype)
    if not known:
        with pytest.raises(DataError, match="must have a value"):
            Lookup.fit(column, np.array(counts, dtype=np.int64), min_count=min_count, column="c")
        return
    lookup = Lookup.fit(column, np.array(counts, dtype=np.int64), min_count=min_count, column="c")
    assert list(lookup.ids) == known
    assert lookup.size == len(known) + 1
    expected = [known.index(value) + 1 if value in known else 0 for value in train + later]
    rows = lookup.rows(pl.Series(train + later, dtype=dtype), column="c")
    assert rows.dtype == np.int32
    assert rows.tolist() == expected


@pytest.mark.parametrize("ids", [["a", "b", "d"], ["d", "a", "b"], [1, 5, 7], [7, 5, 1]], ids=str)
def test_few_values_and_many_have_the_same_rows_in_any_order_of_the_ids(ids: list[str] | list[int]) -> None:
    later: list[str | int | None] = [*ids, None, "" if isinstance(ids[0], str) else -9, "z" if isinstance(ids[0], str) else 6]
    expected = [1, 2, 3, 0, 0, 0]
    lookup = Lookup(ids=pl.Series(ids))
    assert lookup.rows(pl.Series(later), column="c").tolist() == expected
    assert lookup.rows(pl.Series(later * 500), column="c").tolist() == expected * 500


def test_every_kind_of_text_is_text() -> None:
    lookup = Lookup.fit(pl.Series(["a", "b"]), None, min_count=1, column="c")
    assert lookup.rows(pl.Series(["b", "z"], dtype=pl.Categorical), column="c").tolist() == [2, 0]
    assert lookup.rows(pl.Series(["b", "z"], dtype=pl.Enum(["z", "b"])), column="c").tolist() == [2, 0]
    assert lookup.rows(pl.Series([None, None]), column="c").tolist() == [0, 0]
    assert Lookup.fit(pl.Series([True, False]), None, min_count=1, column="c").ids.to_list() == ["false", "true"]


def test_every_width_of_integers_is_int64() -> None:
    lookup = Lookup.fit(pl.Series([7, 3], dtype=pl.UInt8), None, min_count=1, column="c")
    assert lookup.ids.to_list() == [3, 7]
    assert lookup.rows(pl.Series([7, -1], dtype=pl.Int16), column="c").tolist() == [2, 0]


def test_integers_for_text_are_refused_and_the_other_way_round() -> None:
    text = Lookup.fit(pl.Series(["7"]), None, min_count=1, column="c")
    number = Lookup.fit(pl.Series([7]), None, min_count=1, column="c")
    with pytest.raises(DataError, match=r"'user'.*text such as '7'.*Int64 such as 8; cast"):
        text.rows(pl.Series([None, 8]), column="user")
    with pytest.raises(DataError, match=r"'user'.*integers such as 7.*String such as 'x'; cast"):
        number.rows(pl.Series(["x"]), column="user")
    assert number.rows(pl.Series([], dtype=pl.String), column="user").tolist() == []


def test_other_types_are_refused_with_examples() -> None:
    with pytest.raises(DataError, match=r"'c' must hold text or integers; it holds Float64 \(1\.5\)"):
        id_values(pl.Series([None, 1.5]), "c")
    with pytest.raises(DataError, match="64 bits with sign; the largest is 9223372036854775808"):
        id_values(pl.Series([1, 2**63], dtype=pl.UInt64), "c")


def test_an_unreachable_min_count_says_what_there_is() -> None:
    with pytest.raises(
        DataError, match="'c' must have a value that occurs at least 3 times; the most frequent of 2 values occurs 2 times"
    ):
        Lookup.fit(pl.Series(["a", "a", "b"]), None, min_count=3, column="c")
    with pytest.raises(DataError, match="no row has a value"):
        Lookup.fit(pl.Series([None], dtype=pl.String), None, min_count=1, column="c")


def test_distinct_points_back() -> None:
    values, positions = distinct(pl.Series(["b", "a", None, "b"]))
    assert [None, *values.to_list()] == [None, "b", "a"]
    assert positions.tolist() == [1, 2, 0, 1]
    values, positions = distinct(pl.Series([None, None], dtype=pl.String))
    assert (values.to_list(), positions.tolist()) == ([], [0, 0])


@pytest.mark.parametrize("values", [["a", "b", "c"], ["a", "a", "b"], ["b", "a", "b"], ["a", None, "b"], [None], []])
def test_totals_are_sorted_and_distinct_however_the_values_come(values: list[str | None]) -> None:
    counts = np.arange(1, len(values) + 1)
    expected: Counter[str] = Counter()
    for value, count in zip(values, counts.tolist(), strict=True):
        if value is not None:
            expected[value] += count
    assert value_totals(pl.Series(values, dtype=pl.String), counts, "c").rows() == sorted(expected.items())
    found, positions = distinct(pl.Series(values, dtype=pl.String))
    assert [[None, *found.to_list()][position] for position in positions] == values
    assert len(found) == len(expected)


def test_equality_is_of_the_values_whatever_was_looked_up() -> None:
    first, second = Lookup(ids=pl.Series(["a", "b"])), Lookup(ids=pl.Series(["a", "b"]))
    for lookup in (first, second):
        lookup.rows(pl.Series(["b"]), column="letter")
    assert first == second
    assert hash(first) == hash(second)
    assert first != Lookup(ids=pl.Series(["b", "a"]))
    assert Lookup(ids=pl.Series(["1"])) != Lookup(ids=pl.Series([1]))
    assert first != ("a", "b")
