from __future__ import annotations

import numpy as np
import pytest

from twotower.diagnosis import Lift, PopularityLikeness, average_ranks, check_popularity, rank_correlation

EQUAL = Lift("recall@10", 0.20, 0.20, -0.01, 0.01)
BETTER = Lift("recall@10", 0.30, 0.20, 0.05, 0.15)


def slow_ranks(values: list[float]) -> list[float]:
    return [1 + sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def test_ranks_and_correlations_are_those_of_the_textbook() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, size=(5, 20)).astype(float)
    counts = rng.integers(0, 9, size=20)
    assert average_ranks(scores).tolist() == [slow_ranks(row) for row in scores.tolist()]
    for found, row in zip(rank_correlation(scores, counts), scores.tolist(), strict=True):
        wanted = np.corrcoef(slow_ranks(row), slow_ranks(counts.tolist()))[0, 1]
        assert found == pytest.approx(wanted)


def test_scores_that_do_not_vary_correlate_with_nothing() -> None:
    assert rank_correlation(np.ones((1, 3)), np.array([1, 2, 3])).tolist() == [0.0]


@pytest.mark.parametrize(("correlation", "overlap"), [(0.95, 0.2), (0.6, 0.8)])
def test_popularity_is_found_by_its_order_or_its_first_ten(correlation: float, overlap: float) -> None:
    evidence = PopularityLikeness(np.full(4, correlation), overlap, 0.9, EQUAL)
    finding = check_popularity(evidence)
    assert finding is not None
    assert finding.code == "popularity_only"
    assert f"rank correlation of {correlation:.2f}" in finding.evidence[0]
    assert check_popularity(PopularityLikeness(np.full(4, correlation), overlap, 0.9, BETTER)) is None


@pytest.mark.parametrize(("correlation", "overlap"), [(0.85, 0.6), (0.0, 0.9)])
def test_somewhat_popular_lists_are_no_finding(correlation: float, overlap: float) -> None:
    assert check_popularity(PopularityLikeness(np.full(4, correlation), overlap, 0.9, EQUAL)) is None
