"""What an item log has to pass; see :mod:`twotower.store.contract_suite`."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from twotower.bundle import JSON
from twotower.errors import DataError
from twotower.store.contract import IdKind, ItemLog
from twotower.store.suite_values import NOT_INTEGERS, NOT_TEXTS, ODD_INTEGERS, ODD_TEXTS, refuses
from twotower.types import Id

__all__ = ["ITEM_LOG_CHECKS", "MakeItemLog"]

MakeItemLog: TypeAlias = Callable[[IdKind], ItemLog]
"""From the kind of ids to an empty log."""


def _items_now(log: ItemLog, page: int | None = None, after: int = 0) -> dict[Id, object]:
    """What a follower that applies all changes in order ends with."""
    state: dict[Id, object] = {}
    while changes := log.item_changes(after, limit=page):
        for sequence, item, features in changes:
            assert sequence > after, "changes come in the order of their sequences"
            after = sequence
            if features is None:
                state.pop(item, None)
            else:
                state[item] = features
    return state


def check_a_new_item_log_is_empty(make: MakeItemLog) -> None:
    log = make("text")
    assert (log.last_item_change(), log.item_changes(), log.compact_items()) == (0, [], 0)


def check_changes_come_back_in_order(make: MakeItemLog) -> None:
    log = make("text")
    assert log.put_items([("a", {"x": 1}), ("b", {})]) == 2
    assert log.remove_items(["a", "never there"]) == 4
    assert log.put_items([("a", {"x": 2})]) == 5 == log.last_item_change()
    found = [tuple(change) for change in log.item_changes()]
    assert found == [(1, "a", {"x": 1}), (2, "b", {}), (3, "a", None), (4, "never there", None), (5, "a", {"x": 2})]


def check_features_come_back_as_they_went(make: MakeItemLog) -> None:
    log = make("text")
    features: dict[str, JSON] = {
        "text": 'ä\0\u2028😀"\\',
        "": [1, -(2**70), 0.1, 1e300, 5e-324, True, False, None, []],
        "nested": {"z": {"y": [{}]}, "a": 1.0},
    }
    log.put_items([("a", features), ("b", {"tuple": (1, 2)})])
    (_, _, first), (_, _, second) = log.item_changes()
    assert first == features
    assert list(first) == list(features), "keys keep their order"
    assert [type(value) for value in first[""]] == [type(value) for value in features[""]]  # type: ignore[union-attr]
    assert second == {"tuple": [1, 2]}


def check_changes_are_read_in_pages(make: MakeItemLog) -> None:
    log = make("integer")
    log.put_items([(number, {"n": number}) for number in range(10)])
    assert [change.sequence for change in log.item_changes(7)] == [8, 9, 10]
    assert [change.sequence for change in log.item_changes(2, limit=3)] == [3, 4, 5]
    assert log.item_changes(10) == log.item_changes(2**63 - 1) == []
    for page in (1, 3, 10, 11):
        assert _items_now(log, page) == {number: {"n": number} for number in range(10)}


def check_an_item_may_come_twice_in_one_call(make: MakeItemLog) -> None:
    log = make("text")
    assert log.put_items([("a", {"x": 1}), ("a", {"x": 2})]) == 2
    assert log.remove_items(["b", "b"]) == 4
    assert _items_now(log) == {"a": {"x": 2}}


def check_items_are_written_all_or_none(make: MakeItemLog) -> None:
    log = make("text")
    log.put_items([("a", {})])
    bad: list[Any] = [
        {"x": float("nan")},
        {"x": [float("inf")]},
        {1: "x"},
        {"x": {2}},
        {"x": "\ud800"},
        [],
        None,
        {"x": 10**5000},
    ]
    for features in bad:
        items: list[Any] = [("b", {}), ("c", features), ("d", {})]
        assert refuses(DataError, log.put_items, items), features
    for item in NOT_TEXTS:
        assert refuses(DataError, log.put_items, [("b", {}), (item, {})]), item
        assert refuses(DataError, log.remove_items, ["a", item]), item
    assert log.last_item_change() == 1
    assert _items_now(log) == {"a": {}}


def check_an_empty_call_changes_nothing(make: MakeItemLog) -> None:
    log = make("text")
    assert log.put_items([]) == log.remove_items([]) == 0
    log.put_items([("a", {})])
    assert log.put_items([]) == log.remove_items([]) == log.last_item_change() == 1


def check_ids_of_items_keep_what_they_are(make: MakeItemLog) -> None:
    texts, integers = make("text"), make("integer")
    texts.put_items([(item, {"n": n}) for n, item in enumerate(ODD_TEXTS)])
    integers.put_items([(item, {"n": n}) for n, item in enumerate(ODD_INTEGERS)])
    assert _items_now(texts) == {item: {"n": n} for n, item in enumerate(ODD_TEXTS)}
    assert _items_now(integers) == {item: {"n": n} for n, item in enumerate(ODD_INTEGERS)}
    assert all(type(item) is int for item in _items_now(integers))
    for item in NOT_INTEGERS:
        assert refuses(DataError, integers.put_items, [(item, {})]), item


def check_what_is_asked_of_items_is_checked(make: MakeItemLog) -> None:
    log = make("text")
    for after in (-1, 1.5, True, None, 2**63):
        assert refuses(ValueError, log.item_changes, after), after
    for limit in (0, -1, 1.5, True):
        assert refuses(ValueError, log.item_changes, limit=limit), limit


def check_what_is_done_to_features_later_changes_nothing(make: MakeItemLog) -> None:
    log = make("text")
    features: dict[str, Any] = {"tags": ["a"]}
    log.put_items([("a", features)])
    features["tags"].append("b")
    (_, _, found), *_ = log.item_changes()
    assert found is not None
    found["tags"] = None
    assert _items_now(log) == {"a": {"tags": ["a"]}}


def check_compaction_keeps_the_last_change_of_each_item(make: MakeItemLog) -> None:
    log = make("text")
    log.put_items([("a", {"x": 1}), ("b", {}), ("a", {"x": 2}), ("c", {}), ("\0", {})])
    log.remove_items(["c", "d"])
    assert log.compact_items() == 2
    assert [change.sequence for change in log.item_changes()] == [2, 3, 5, 6, 7]
    assert log.compact_items() == 0
    assert log.put_items([("a", {"x": 3})]) == 8, "no sequence is given twice"
    assert log.compact_items() == 1
    log.remove_items(["a"])
    assert log.compact_items() == 1
    assert log.put_items([("e", {})]) == 10


def check_a_follower_ends_right_wherever_it_was(make: MakeItemLog) -> None:
    draw = random.Random(0)
    log = make("integer")
    state: dict[int, object] = {}
    states = [dict(state)]
    for step in range(60):
        item = draw.randrange(8)
        if draw.random() < 0.6:
            state[item] = {"step": step}
            log.put_items([(item, {"step": step})])
        else:
            state.pop(item, None)
            log.remove_items([item])
        states.append(dict(state))
        if step in (20, 40):
            log.compact_items()
    log.compact_items()
    for after, behind in enumerate(states):
        for _, item_id, features in log.item_changes(after):
            behind.pop(int(item_id), None)
            if features is not None:
                behind[int(item_id)] = features
        assert behind == state, after


def check_threads_lose_no_item(make: MakeItemLog) -> None:
    log = make("text")

    def put(thread: int) -> list[int]:
        return [log.put_items([(f"{thread}.{n}", {"n": n}), (f"{thread}.{n}!", {})]) for n in range(10)]

    with ThreadPoolExecutor(8) as pool:
        returned = [number for numbers in pool.map(put, range(8)) for number in numbers]
    changes = log.item_changes()
    assert [change.sequence for change in changes] == list(range(1, 161))
    assert len(_items_now(log)) == 160
    assert max(returned) == 160
    first = {change.item: change.sequence for change in changes}
    assert all(first[f"{t}.{n}!"] == first[f"{t}.{n}"] + 1 for t in range(8) for n in range(10)), "a call is one piece"


ITEM_LOG_CHECKS: tuple[Callable[[MakeItemLog], None], ...] = (
    check_a_new_item_log_is_empty,
    check_changes_come_back_in_order,
    check_features_come_back_as_they_went,
    check_changes_are_read_in_pages,
    check_an_item_may_come_twice_in_one_call,
    check_items_are_written_all_or_none,
    check_an_empty_call_changes_nothing,
    check_ids_of_items_keep_what_they_are,
    check_what_is_asked_of_items_is_checked,
    check_what_is_done_to_features_later_changes_nothing,
    check_compaction_keeps_the_last_change_of_each_item,
    check_a_follower_ends_right_wherever_it_was,
    check_threads_lose_no_item,
)
"""Every check of an :class:`~twotower.store.ItemLog`."""
