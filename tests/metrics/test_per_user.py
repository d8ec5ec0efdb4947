"""Per-user metrics against the mean over every order that the scores allow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.metrics import (
    Ranks,
    UserRanks,
    group_by_user,
    hit_rate,
    ndcg,
    reciprocal_rank,
    user_average_precision,
    user_hit_rate,
    user_ndcg,
    user_precision,
    user_recall,
    user_reciprocal_rank,
)


def orders(scores: list[int]) -> Iterator[list[int]]:
    """Every list of the items, best first, with ties in every order."""
    groups = [[item for item, score in enumerate(scores) if score == level] for level in sorted(set(scores), reverse=True)]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [item for part in parts for item in part]


def metrics_of(order: list[int], relevant: set[int], k: int) -> list[float]:
    hits = [position for position, item in enumerate(order, start=1) if item in relevant]
    inside = [position for position in hits if position <= k]
    ideal = sum(1 / math.log2(position + 1) for position in range(1, min(k, len(relevant)) + 1))
    return [
        len(inside) / len(relevant),
        len(inside) / k,
        float(bool(inside)),
        sum(1 / math.log2(position + 1) for position in inside) / ideal,
        sum(sum(other <= position for other in hits) / position for position in inside) / min(k, len(relevant)),
        1 / hits[0],
        1 / hits[0] if hits[0] <= k else 0.0,
    ]


def all_metrics(ranks: UserRanks, k: int) -> list[list[float]]:
    values = [
        user_recall(ranks, k),
        user_precision(ranks, k),
        user_hit_rate(ranks, k),
        user_ndcg(ranks, k),
        user_average_precision(ranks, k),
        user_reciprocal_rank(ranks),
        user_reciprocal_rank(ranks, k),
    ]
    assert all(value.dtype == np.float64 for value in values)
    return [list(row) for row in zip(*(value.tolist() for value in values), strict=True)]


def ranks_of(scores: list[int], relevant: set[int]) -> list[tuple[int, int]]:
    return [(sum(s > scores[item] for s in scores), sum(s == scores[item] for s in scores)) for item in relevant]


@given(st.data())
@settings(max_examples=80)
def test_the_mean_over_every_order_that_the_scores_allow(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 7))
    rows: list[tuple[int, int, int]] = []
    expected: list[list[float]] = []
    for user in range(data.draw(st.integers(1, 3))):
        scores = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=5))
        relevant = data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))
        each = [metrics_of(order, relevant, k) for order in orders(scores)]
        expected.append([sum(column) / len(each) for column in zip(*each, strict=True)])
        rows += [(above, tied, user) for above, tied in ranks_of(scores, relevant)]
    rows = data.draw(st.permutations(rows))
    above, tied, users = np.array(rows, dtype=np.int64).T
    got = all_metrics(group_by_user(Ranks(above, tied), users), k)
    for values, wanted in zip(got, expected, strict=True):
        assert values == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_many_relevant_items_tied_with_each_other() -> None:
    scores, relevant = [1, 1, 1, 1, 1, 1, 0], {0, 2, 3, 5, 6}
    grouped = group_by_user(
        Ranks(*(np.array(column) for column in zip(*ranks_of(scores, relevant), strict=True))), np.zeros(5, dtype=np.int64)
    )
    for k in (1, 2, 3, 4, 6, 7):
        each = [metrics_of(order, relevant, k) for order in orders(scores)]
        wanted = [sum(column) / len(each) for column in zip(*each, strict=True)]
        assert all_metrics(grouped, k)[0] == pytest.approx(wanted, rel=1e-9)


def test_an_example_by_hand() -> None:
    # one user: relevant at 1 and 3; another: one relevant item, at 2
    ranks = Ranks(np.array([2, 1, 0]), np.array([1, 1, 1]))
    grouped = group_by_user(ranks, np.array([30, 4, 30]))
    assert grouped.users.tolist() == [4, 30]
    assert grouped.relevant.tolist() == [1, 2]
    assert user_recall(grouped, 2).tolist() == [1.0, 0.5]
    assert user_precision(grouped, 2).tolist() == [0.5, 0.5]
    assert user_hit_rate(grouped, 1).tolist() == [0.0, 1.0]
    assert user_ndcg(grouped, 3).tolist() == pytest.approx([1 / math.log2(3), 1.5 / (1 + 1 / math.log2(3))])
    assert user_average_precision(grouped, 3).tolist() == pytest.approx([0.5, (1 + 2 / 3) / 2])
    assert user_average_precision(grouped, 1).tolist() == [0.0, 1.0]
    assert user_reciprocal_rank(grouped).tolist() == [0.5, 1.0]


def test_with_one_relevant_item_each_the_metrics_are_those_of_interactions() -> None:
    rng = np.random.default_rng(0)
    ranks = Ranks(rng.integers(0, 30, 50), rng.integers(1, 9, 50))
    grouped = group_by_user(ranks, np.arange(50))
    for k in (1, 10, 25):
        np.testing.assert_allclose(user_recall(grouped, k), hit_rate(ranks, k), rtol=1e-12)
        np.testing.assert_allclose(user_hit_rate(grouped, k), hit_rate(ranks, k), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(user_ndcg(grouped, k), ndcg(ranks, k), rtol=1e-12)
        np.testing.assert_allclose(user_average_precision(grouped, k), reciprocal_rank(ranks, k), rtol=1e-12)
        np.testing.assert_allclose(user_reciprocal_rank(grouped, k), reciprocal_rank(ranks, k), rtol=1e-12)


def test_unranked_items_of_one_user_follow_the_catalogue_one_after_another() -> None:
    ranks = Ranks.concatenate([Ranks(np.array([0]), np.array([1])), Ranks.unranked(2, 9)])
    grouped = group_by_user(ranks, np.zeros(3, dtype=np.int64))
    assert (grouped.above.tolist(), grouped.tied.tolist()) == ([0, 9], [1, 2])
    assert user_recall(grouped, 9).tolist() == pytest.approx([1 / 3])
    assert user_average_precision(grouped, 9).tolist() == pytest.approx([1 / 3])
    assert user_reciprocal_rank(group_by_user(Ranks.unranked(2, 9), np.zeros(2, dtype=np.int64))).tolist() == [0.1]


def test_ranks_that_can_not_hold_together_are_moved_down() -> None:
    # three items claim the first place, and a fourth the second: they fill places 1 to 4
    ranks = Ranks(np.array([0, 0, 0, 1]), np.ones(4, dtype=np.int64))
    grouped = group_by_user(ranks, np.zeros(4, dtype=np.int64))
    assert (grouped.above.tolist(), grouped.tied.tolist()) == ([0, 3], [3, 1])
    for k in (1, 2, 3, 4):
        assert user_precision(grouped, k).tolist() == pytest.approx([1.0])
        assert user_average_precision(grouped, k).tolist() == pytest.approx([1.0])


def test_a_group_is_as_wide_as_its_widest_rank() -> None:
    ranks = Ranks(np.array([2, 2, 2]), np.array([1, 5, 2]))
    assert group_by_user(ranks, np.zeros(3, dtype=np.int64)).tied.tolist() == [5]


def test_large_ties_are_exact() -> None:
    # 400 relevant among 5,000 tied: the chance of no hit in 10 places
    grouped = group_by_user(Ranks(np.zeros(400, dtype=np.int64), np.full(400, 5000)), np.zeros(400, dtype=np.int64))
    miss = math.prod((4600 - j) / (5000 - j) for j in range(10))
    assert user_hit_rate(grouped, 10).tolist() == pytest.approx([1 - miss], rel=1e-10)
    first = sum(math.comb(5000 - j, 399) / math.comb(5000, 400) / j for j in range(1, 4602))
    assert user_reciprocal_rank(grouped).tolist() == pytest.approx([first], rel=1e-10)


def test_no_users() -> None:
    grouped = group_by_user(Ranks.concatenate([]), np.empty(0, dtype=np.int64))
    assert len(grouped) == 0
    assert all_metrics(grouped, 3) == []


def test_users_have_the_length_of_ranks() -> None:
    with pytest.raises(ValueError, match=r"length of ranks, \(1,\); came \(2,\)"):
        group_by_user(Ranks(np.array([0]), np.array([1])), np.array([0, 1]))


@pytest.mark.parametrize(
    "metric", [user_recall, user_precision, user_hit_rate, user_ndcg, user_average_precision, user_reciprocal_rank]
)
def test_k_is_at_least_one(metric: object) -> None:
    assert callable(metric)
    grouped = group_by_user(Ranks(np.array([0]), np.array([1])), np.array([0]))
    with pytest.raises(ValueError, match=r"at least 1; came 0"):
        metric(grouped, 0)
