from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.bundle import JSON, dump_json, parse_json
from twotower.errors import BundleError, CorruptBundleError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@given(VALUES)
def test_what_is_written_comes_back(value: JSON) -> None:
    text = dump_json(value)
    assert parse_json(text, source="x") == value
    assert parse_json(text.encode("utf-8"), source="x") == value
    assert json.loads(text) == value
    assert text.endswith("\n")


def test_keys_keep_their_order_and_text_is_readable() -> None:
    assert dump_json({"b": "é", "a": [1]}) == '{\n  "b": "é",\n  "a": [\n    1\n  ]\n}\n'


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_hundred_levels_are_taken() -> None:
    assert parse_json(dump_json(deep(100)), source="x") == deep(100)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"card: it must be a finite number to be written as JSON \(came: nan\)"),
        ({"metrics": [{"loss": 1.0}, {"loss": float("inf")}]}, r"card: metrics\[1\]\.loss must be a finite .*inf"),
        ({"a": {1: 2}}, r"card: the keys of a must be text \(came: 1\)"),
        ({None: 2}, r"card: the keys of it must be text \(came: None\)"),
        ({"a": [np.int64(3)]}, r"card: a\[0\] is of type int64, which JSON does not have; convert it"),
        ({"a": {1, 2}}, "card: a is of type set"),
        ({"a": b"bytes"}, "card: a is of type bytes"),
        ({"a": "\ud800"}, "card: a must be text that UTF-8 can hold"),
        ({"\ud800": 1}, "card: the keys of it must be text"),
        (deep(101), "nested deeper than 100"),
    ],
)
def test_what_json_can_not_hold_is_refused(value: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        dump_json(value, source="card")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": 1} x', "Extra data"),
        (b'"\xff"', "can't decode byte 0xff"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"[1e999]", "1e999 is too large"),
        (b'{"a": 1, "b": 2, "b": 3}', "the key 'b' came twice"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_what_is_not_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CorruptBundleError, match=rf"^card\.json must be JSON, and is not: .*{message}"):
        parse_json(data, source="card.json")
