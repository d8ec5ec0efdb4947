from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import Ranks, Ties, average_precision, hit_rate, ndcg, precision, reciprocal_rank


def of_rank(rank: int, k: int) -> tuple[float, float, float, float, float]:
    inside = rank <= k
    return float(inside), inside / math.log2(rank + 1), inside / rank, inside / k, inside / rank


METRICS: list[Callable[[Ranks, int, Ties], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]] = [
    hit_rate,
    ndcg,
    reciprocal_rank,
    precision,
    average_precision,
]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=5), st.integers(1, 30))
def test_the_mean_over_every_position_that_the_positive_can_have(pairs: list[tuple[int, int]], k: int) -> None:
    ranks = Ranks(np.array([a for a, _ in pairs], dtype=np.int64), np.array([t for _, t in pairs], dtype=np.int64))
    for number, metric in enumerate(METRICS):
        each = [[of_rank(a + j, k)[number] for j in range(1, t + 1)] for a, t in pairs]
        expected = metric(ranks, k, "expected")
        assert expected.dtype == np.float64
        assert expected.tolist() == pytest.approx([sum(row) / len(row) for row in each], rel=1e-9, abs=1e-14)
        assert metric(ranks, k, "optimistic").tolist() == pytest.approx([row[0] for row in each], rel=1e-9, abs=1e-14)
        assert metric(ranks, k, "pessimistic").tolist() == pytest.approx([row[-1] for row in each], rel=1e-9, abs=1e-14)


def test_examples_by_hand() -> None:
    ranks = Ranks(np.array([0, 1, 9, 10, 8]), np.array([1, 1, 1, 1, 4]))
    assert hit_rate(ranks, 10).tolist() == [1.0, 1.0, 1.0, 0.0, 0.5]
    assert hit_rate(ranks, 10, ties="optimistic").tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]
    assert hit_rate(ranks, 10, ties="pessimistic").tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert ndcg(ranks, 2).tolist() == pytest.approx([1.0, 0.6309297535714575, 0.0, 0.0, 0.0])
    assert reciprocal_rank(ranks).tolist() == pytest.approx([1, 0.5, 0.1, 1 / 11, (1 / 9 + 1 / 10 + 1 / 11 + 1 / 12) / 4])
    assert reciprocal_rank(ranks, 10).tolist() == pytest.approx([1, 0.5, 0.1, 0, (1 / 9 + 1 / 10) / 4])


def test_a_model_that_scores_all_alike_is_found_out() -> None:
    ranks = Ranks(np.zeros(3, dtype=np.int64), np.full(3, 1000))
    assert hit_rate(ranks, 10).tolist() == [0.01] * 3
    assert hit_rate(ranks, 10, ties="optimistic").tolist() == [1.0] * 3
    assert hit_rate(ranks, 10, ties="pessimistic").tolist() == [0.0] * 3


def test_an_unranked_positive_is_a_miss_up_to_the_catalogues_size() -> None:
    ranks = Ranks.unranked(1, 20)
    assert hit_rate(ranks, 20).tolist() == [0.0]
    assert ndcg(ranks, 20).tolist() == [0.0]
    assert reciprocal_rank(ranks, 20).tolist() == [0.0]
    assert precision(ranks, 20).tolist() == average_precision(ranks, 20).tolist() == [0.0]
    assert reciprocal_rank(ranks).tolist() == pytest.approx([1 / 21])


def test_far_positions_keep_their_precision() -> None:
    ranks = Ranks(np.array([2_000_000]), np.array([1]))
    assert reciprocal_rank(ranks).tolist() == pytest.approx([1 / 2_000_001], rel=1e-7)


def test_no_rows_give_no_values() -> None:
    none = Ranks.concatenate([])
    assert hit_rate(none, 5).shape == ndcg(none, 5).shape == reciprocal_rank(none).shape == (0,)


@pytest.mark.parametrize("metric", METRICS)
def test_k_is_at_least_one(metric: Callable[[Ranks, int], object]) -> None:
    with pytest.raises(ValueError, match=r"at least 1; came 0"):
        metric(Ranks(np.array([0]), np.array([1])), 0)
