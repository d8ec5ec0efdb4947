from __future__ import annotations

from typing import Any

import pytest

from twotower.errors import DataError
from twotower.store import Interaction
from twotower.store.entries import ItemEntry, check_ids, checked_interactions, checked_items, checked_removals


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        (["a", 7], "text", r"item 1: the id must be text \(came: 7, of type int\); convert it first"),
        ([None], "text", r"item 0: the id must be text \(came: None, of type NoneType\)"),
        (["a\ud800"], "text", r"item 0: the id must be text that UTF-8 can hold \(came: 'a\\ud800'\)"),
        (["7"], "integer", r"item 0: the id must be an integer \(came: '7', of type str\)"),
        ([1, True], "integer", r"item 1: the id must be an integer \(came: True, of type bool\)"),
        ([2**63], "integer", r"item 0: the id must be an integer of 64 bits \(came: 9223372036854775808\)"),
    ],
)
def test_an_id_of_another_kind_is_named(ids: Any, kind: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_ids(ids, kind, "item")


def test_items_are_written_as_compact_json() -> None:
    assert checked_items([("a", {"b": [1, 2.5], "a": "ä"})], "text") == [ItemEntry("a", '{"b":[1,2.5],"a":"ä"}')]
    assert checked_removals([7, 8], "integer") == [ItemEntry(7, None), ItemEntry(8, None)]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"x": float("nan")}, r"item 'b': x must be a finite number"),
        ({"x": {"y": [1, {2}]}}, r"item 'b': x\.y\[1\] is of type set"),
        ({3: 1}, r"item 'b': the keys of it must be text \(came: 3\)"),
        ([("x", 1)], r"item 'b': the features must be a mapping of names to values \(came: list\)"),
        ({"x": 10**5000}, r"item 'b': the features can't be written as JSON"),
    ],
)
def test_features_that_json_can_not_hold_are_named(features: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked_items([("a", {}), ("b", features)], "text")


def test_times_become_floats_and_zero_has_no_sign() -> None:
    (first, second, third) = checked_interactions(
        [Interaction("u", 1, 5), Interaction("u", 1, -0.0), Interaction("u", 1)], "text", "integer"
    )
    assert (repr(first.time), repr(second.time), third.time) == ("5.0", "0.0", None)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 10**400, "5", True, [5.0]])
def test_a_time_that_is_none_is_named(time: Any) -> None:
    with pytest.raises(DataError, match=r"interaction 1: the time must be Unix seconds, a finite number, or None \(came: "):
        checked_interactions([Interaction("u", "i"), Interaction("u", "i", time)], "text", "text")


def test_the_side_of_an_id_is_named() -> None:
    with pytest.raises(DataError, match="interaction 0: the user's id must be an integer"):
        checked_interactions([Interaction("7", "i")], "integer", "text")
    with pytest.raises(DataError, match="interaction 0: the item's id must be text"):
        checked_interactions([Interaction(7, 7)], "integer", "text")
