from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import RaggedArray, novelty, popularity_lift

rankings = st.permutations([0, 1, 2, 3, 4, -1, -1, -1]).map(lambda each: each[:3])
pasts = st.lists(st.integers(0, 4), max_size=4)
counts = st.lists(st.integers(0, 30), min_size=5, max_size=5)


def ragged(lists: list[list[int]]) -> RaggedArray:
    ends = [sum(len(each) for each in lists[:number]) for number in range(len(lists) + 1)]
    return RaggedArray(np.array([value for each in lists for value in each], dtype=np.int64), np.array(ends))


@given(st.lists(st.tuples(rankings, pasts), min_size=1, max_size=6), counts)
def test_lift_is_the_ratio_of_the_two_mean_popularities(pairs: list[tuple[list[int], list[int]]], counts_N: list[int]) -> None:
    recommended, consumed, queries = [], [], []
    for query, (items, past) in enumerate(pairs):
        items = [item for item in items if item >= 0]
        if items and past:
            recommended.append(sum(counts_N[item] for item in items) / len(items))
            consumed.append(sum(counts_N[item] for item in past) / len(past))
            queries.append(query)
    found = popularity_lift(np.array([each for each, _ in pairs]), ragged([past for _, past in pairs]), np.array(counts_N))
    assert (found.queries.tolist(), found.total) == (queries, len(pairs))
    assert found.recommended.tolist() == pytest.approx(recommended, rel=1e-12)
    assert found.consumed.tolist() == pytest.approx(consumed, rel=1e-12)
    if sum(consumed):
        assert found.lift == pytest.approx(sum(recommended) / sum(consumed), rel=1e-9)
    else:
        with pytest.raises(ValueError, match=r"a lift needs"):
            _ = found.lift


def test_lift_by_hand() -> None:
    counts_N = np.array([8, 2, 1, 1])
    consumed = ragged([[1, 2], [2, 3], []])
    assert popularity_lift(np.array([[1, 2], [3, 2], [0, 1]]), consumed, counts_N).lift == 1.0
    lift = popularity_lift(np.array([[0, -1], [0, 1], [2, 3]]), consumed, counts_N)
    assert lift.lift == pytest.approx((8 + 5) / (1.5 + 1))  # the third user has no past
    assert popularity_lift(np.array([[0, -1], [0, 1], [2, 3]]), consumed, counts_N * 3).lift == pytest.approx(lift.lift)
    twice = ragged([[1, 2, 1, 1], [2, 3], []])
    assert popularity_lift(np.array([[0, -1], [0, 1], [2, 3]]), twice, counts_N).consumed.tolist() == [1.75, 1.0]


def test_a_lift_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a list whose user consumed something; came 1 lists"):
        _ = popularity_lift(np.array([[0]]), ragged([[]]), np.array([1])).lift
    with pytest.raises(ValueError, match=r"consumed items with a count; came counts of 0"):
        _ = popularity_lift(np.array([[0]]), ragged([[1]]), np.array([1, 0])).lift


@given(st.lists(rankings, min_size=1, max_size=5), counts)
def test_novelty_is_the_mean_information_of_the_items(lists: list[list[int]], counts_N: list[int]) -> None:
    shares = [(count + 1) / (sum(counts_N) + 5) for count in counts_N]
    each = [[-math.log2(shares[item]) for item in items if item >= 0] for items in lists]
    found = novelty(np.array(lists), np.array(counts_N))
    assert found.queries.tolist() == [query for query, bits in enumerate(each) if bits]
    assert found.values.tolist() == pytest.approx([sum(bits) / len(bits) for bits in each if bits], rel=1e-9)


def test_novelty_by_hand() -> None:
    assert novelty(np.array([[0, 3], [2, 1]]), np.full(8, 5)).values.tolist() == pytest.approx([3.0, 3.0])
    found = novelty(np.array([[0, -1], [-1, -1], [1, 2]]), np.array([6, 0, 0]))  # of 9 shares, 7, 1 and 1
    assert found.values.tolist() == pytest.approx([math.log2(9 / 7), math.log2(9)])
    assert found.left_out == 1
    assert found.mean == pytest.approx((math.log2(9 / 7) + math.log2(9)) / 2)


@pytest.mark.parametrize("counts_N", [[1, -1], [[1, 2]], [1.0, float("inf")]])
def test_counts_must_be_counts(counts_N: list[float]) -> None:
    for figure in (lambda c: novelty(np.array([[0]]), c), lambda c: popularity_lift(np.array([[0]]), ragged([[0]]), c)):
        with pytest.raises(ValueError, match=r"finite and not negative"):
            figure(np.array(counts_N))


def test_what_was_consumed_must_fit() -> None:
    with pytest.raises(ValueError, match=r"a row for each list; came 2 for 1 lists"):
        popularity_lift(np.array([[0]]), ragged([[0], [0]]), np.array([1]))
    with pytest.raises(ValueError, match=r"in \[0, 1\); came 1"):
        popularity_lift(np.array([[0]]), ragged([[1]]), np.array([1]))
