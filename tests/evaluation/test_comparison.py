"""Comparisons of rankers: what may be said, and what may not."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.evaluation import Compared, compare_rankers, ranker_means
from twotower.metrics import bootstrap_interval, paired_difference

RNG = np.random.default_rng(3)
USERS = RNG.integers(0, 200, 1000)
EASY = RNG.random(1000)
HARD = np.clip(EASY - 0.05 + 0.02 * RNG.standard_normal(1000), 0, 1)
SAME = EASY + RNG.permutation(np.r_[np.full(500, 0.01), np.full(500, -0.01)])


def test_a_real_difference_is_found_whichever_way_it_is_asked_for() -> None:
    for pair in (("easy", "hard"), ("hard", "easy")):
        (found,) = compare_rankers({"hard": [HARD], "easy": [EASY]}, USERS, [pair], seed=1)
        assert (found.first, found.second, found.better) == ("easy", "hard", True)
        assert found.difference == pytest.approx(EASY.mean() - HARD.mean())
        assert 0 < found.low < found.difference < found.high
        expected = paired_difference(EASY, HARD, USERS, seed=1)
        assert (found.low, found.high) == pytest.approx((float(expected.low), float(expected.high)))


def test_noise_is_no_difference() -> None:
    (found,) = compare_rankers({"a": [SAME], "b": [EASY]}, USERS, [("a", "b")], seed=1)
    assert not found.better
    assert found.low < 0 < found.high
    assert "no difference that this test set can show" in found.sentence()


@pytest.mark.parametrize(("count", "better"), [(1, False), (5, False), (6, True)])
def test_so_few_users_show_no_difference(count: int, better: bool) -> None:
    """A user's interval has no width, and a coin falls alike five times in a row once in sixteen."""
    users = np.arange(12) % count
    (found,) = compare_rankers({"a": [np.full(12, 0.8)], "b": [np.full(12, 0.3)]}, users, [("a", "b")], seed=1)
    assert found.low == pytest.approx(0.5)
    assert found.better == better


def test_many_comparisons_are_corrected_together_and_have_draws_enough() -> None:
    """Of 40 true differences every one must be findable: with 1,000 draws the smallest p-value times 40 is .08."""
    values = {"hard": [HARD], **{f"easy {i}": [EASY] for i in range(40)}}
    found = compare_rankers(values, USERS, [(f"easy {i}", "hard") for i in range(40)], seed=1)
    assert len(found) == 40
    assert all(each.better for each in found)
    alone = compare_rankers(values, USERS, [("easy 0", "hard")], seed=1)[0]
    assert found[0].p_holm > alone.p_holm


def test_an_interval_that_excludes_0_is_not_enough_when_corrected() -> None:
    assert Compared("a", "b", 0.01, 0.001, 0.02, 0.03, 0.04).better
    assert not Compared("a", "b", 0.01, 0.001, 0.02, 0.03, 0.09).better
    assert not Compared("a", "b", 0.01, -0.001, 0.02, 0.04, 0.04).better


def test_seeds_that_disagree_widen_the_interval() -> None:
    up, down = np.clip(EASY + 0.1, 0, 2), EASY - 0.1
    (steady,) = compare_rankers({"a": [EASY, EASY], "b": [HARD, HARD]}, USERS, [("a", "b")], seed=1)
    (shaky,) = compare_rankers({"a": [up, down], "b": [HARD, HARD]}, USERS, [("a", "b")], seed=1)
    assert shaky.difference == pytest.approx(steady.difference)
    assert shaky.high - shaky.low > 2 * (steady.high - steady.low)
    assert steady.better
    assert not shaky.better


def test_means_have_the_interval_over_users() -> None:
    found = ranker_means({"easy": [EASY], "hard": [HARD, EASY]}, USERS, seed=4)
    expected = bootstrap_interval(EASY, USERS, seed=4)
    assert (found["easy"].mean, found["easy"].low, found["easy"].high) == pytest.approx(
        (float(expected.mean), float(expected.low), float(expected.high))
    )
    assert found["hard"].seeds == pytest.approx((HARD.mean(), EASY.mean()))
    assert found["hard"].mean == pytest.approx((HARD.mean() + EASY.mean()) / 2)
