"""The expression that says which rows are positives."""

from __future__ import annotations

import operator

import polars as pl
import pytest

from twotower.data.positives import Condition, parse_positives, positive_rows
from twotower.errors import DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rating >= 4", [("rating", ">=", 4)]),
        ("rating>=-.5", [("rating", ">=", -0.5)]),
        ("  a.b < 1e3  ", [("a.b", "<", 1000.0)]),
        ("kind == 'buy'", [("kind", "==", "buy")]),
        ('kind != "don\'t"', [("kind", "!=", "don't")]),
        ("kind == 'don''t'", [("kind", "==", "don't")]),
        ("kind == 'this and that' AND n != 2", [("kind", "==", "this and that"), ("n", "!=", 2)]),
        ("`play time (s)` > 30 and x <= 2 and y == ''", [("play time (s)", ">", 30), ("x", "<=", 2), ("y", "==", "")]),
    ],
)
def test_what_reads(text: str, expected: list[tuple[str, str, object]]) -> None:
    assert [tuple(condition) for condition in parse_positives(text)] == expected
    assert [type(c.value) for c in parse_positives(text)] == [type(value) for _, _, value in expected]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rating",
        "rating >= ",
        "rating = 4",
        "rating >= four",
        "rating >= 4 and",
        "rating >= 4 or x > 1",
        "a > 1 b > 2",
        "4 < a",
        "a == 'x",
    ],
)
def test_what_does_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="positives must read like"):
        parse_positives(text)


def test_nothing_is_evaluated() -> None:
    with pytest.raises(ValueError, match="can't read"):
        parse_positives("__import__('os').system('true') == 0")


def test_text_has_no_order() -> None:
    with pytest.raises(ValueError, match=r"text with == and != only; came \"kind >= 'buy'\""):
        parse_positives("kind >= 'buy'")


@pytest.mark.parametrize(
    ("sign", "compare"),
    [
        (">=", operator.ge),
        ("<=", operator.le),
        (">", operator.gt),
        ("<", operator.lt),
        ("==", operator.eq),
        ("!=", operator.ne),
    ],
)
def test_every_operator_against_python(sign: str, compare: object) -> None:
    assert callable(compare)
    values = [1, 2, 3, 4]
    found = positive_rows(pl.DataFrame({"n": values}), parse_positives(f"n {sign} 3"))
    assert found.to_list() == [compare(value, 3) for value in values]


def test_every_condition_must_hold() -> None:
    frame = pl.DataFrame({"n": [1, 5, 5], "kind": ["buy", "buy", "view"]})
    assert positive_rows(frame, parse_positives("n >= 4 and kind == 'buy'")).to_list() == [False, True, False]


def test_categories_are_text_and_truth_is_a_number() -> None:
    frame = pl.DataFrame({"kind": ["buy", "view"], "clicked": [False, True]}, schema_overrides={"kind": pl.Categorical})
    assert positive_rows(frame, (Condition("kind", "!=", "buy"),)).to_list() == [False, True]
    assert positive_rows(frame, (Condition("clicked", "==", 1),)).to_list() == [False, True]


def test_a_missing_column() -> None:
    with pytest.raises(DataError, match="no column 'ratng'; did you mean 'rating'"):
        positive_rows(pl.DataFrame({"rating": [1]}), parse_positives("ratng > 1"))


@pytest.mark.parametrize(("values", "text"), [(["4"], "x >= 4"), ([4], "x == 'four'"), ([[1]], "x == 1")])
def test_types_must_agree(values: list[object], text: str) -> None:
    with pytest.raises(DataError, match=r"'x' is compared with .* and must hold (text|numbers); came"):
        positive_rows(pl.DataFrame({"x": values}), parse_positives(text))


@pytest.mark.parametrize("values", [[5, None, 1, None], [5.0, None, 1.0, float("nan")]])
def test_a_row_without_a_value_is_neither(values: list[float | None]) -> None:
    with pytest.raises(DataError, match=r"2 rows have none \(rows 1, 3\)"):
        positive_rows(pl.DataFrame({"x": values}, strict=False), parse_positives("x >= 4"))


def test_the_fault_of_a_converted_column_does_not_list_its_categories() -> None:
    frame = pl.DataFrame({"kind": pl.Series(["buy", "view"], dtype=pl.Enum(["buy", "view"]))})
    with pytest.raises(DataError, match="must hold numbers; came String;"):
        positive_rows(frame, parse_positives("kind > 3"))
