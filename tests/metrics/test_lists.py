from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import ListValues, recommended_counts
from twotower.metrics.lists import checked_lists, mean_per_list

rankings = st.lists(st.permutations([0, 1, 2, 3, 4, -1, -1, -1]).map(lambda each: each[:4]), min_size=1, max_size=6)
"""Lists of four, of a catalogue of five, with items missing anywhere."""


@given(rankings)
def test_how_many_lists_each_item_is_in(lists: list[list[int]]) -> None:
    assert recommended_counts(np.array(lists), 5).tolist() == [sum(item in each for each in lists) for item in range(5)]


@given(rankings, st.lists(st.floats(-9, 9), min_size=5, max_size=5))
def test_the_mean_over_each_list_that_has_an_item(lists: list[list[int]], values: list[float]) -> None:
    each = [[values[item] for item in one if item >= 0] for one in lists]
    found = mean_per_list(np.array(lists), np.array(values))
    assert found.queries.tolist() == [query for query, kept in enumerate(each) if kept]
    assert found.values.tolist() == pytest.approx([sum(kept) / len(kept) for kept in each if kept], abs=1e-12)
    assert (found.total, found.left_out) == (len(lists), sum(not kept for kept in each))


def test_lists_without_an_item_are_left_out() -> None:
    found = mean_per_list(np.array([[-1, -1], [1, -1], [0, 1]]), np.array([2.0, 8.0]))
    assert (found.queries.tolist(), found.values.tolist(), found.left_out, found.mean) == ([1, 2], [8.0, 5.0], 1, 6.5)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a list that has the figure; came 3 lists"):
        _ = ListValues(np.empty(0, dtype=np.int64), np.empty(0), 3).mean


@pytest.mark.parametrize(
    ("lists", "size", "message"),
    [
        ([0, 1], 3, r"shape \[Q, K\]; came int64 of shape \(2,\)"),
        ([[0.5]], 3, r"shape \[Q, K\]; came float64"),
        ([[0, 3]], 3, r"in \[0, 3\), or -1 for no item; came 0 to 3"),
        ([[0, -2]], 3, r"came -2 to 0"),
        ([[0, 1], [2, 2]], 3, r"hold an item once; list 1 is \[2, 2\]"),
        ([[1, 0, 1]], 3, r"list 0 is \[1, 0, 1\]"),
        ([[0]], 0, r"a catalogue of 0"),
    ],
)
def test_what_can_not_be_lists_is_refused(lists: Any, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_lists(np.array(lists), size)


def test_no_item_may_be_there_many_times() -> None:
    assert checked_lists(np.array([[-1, 0, -1, -1]], dtype=np.int32), 1).dtype == np.int64
    assert recommended_counts(np.empty((0, 3), dtype=np.int64), 2).tolist() == [0, 0]
