from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import bootstrap_interval, bootstrap_ratio, holm, intervals, nested_difference, paired_difference

VALUES = np.array([1.0, 0.0, 0.5, 1.0, 0.0, 0.25, 1.0])
USERS = np.array([5, 5, 9, 2, 2, 2, 7])


def oracle(values: list[float], users: list[int], weights: list[float], draws: int, seed: int) -> list[float]:
    """Draw users one by one and average their rows, with the generator's own order of draws."""
    rng = np.random.default_rng(seed)
    names = sorted(set(users))
    figures = []
    for _ in range(draws):
        drawn = [names[number] for number in rng.integers(0, len(names), size=len(names))]
        top = bottom = 0.0
        for name in drawn:
            for value, user, weight in zip(values, users, weights, strict=True):
                if user == name:
                    top, bottom = top + weight * value, bottom + weight
        figures.append(top / bottom)
    return figures


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5, 2.0, 1.0, 1.0, 4.0]])
@pytest.mark.parametrize("level", [0.95, 0.5])
def test_is_the_percentile_interval_over_drawn_users(weights: list[float] | None, level: float) -> None:
    used = weights or [1.0] * len(VALUES)
    figures = oracle(VALUES.tolist(), USERS.tolist(), used, draws=60, seed=3)
    interval = bootstrap_interval(
        VALUES, USERS, seed=3, draws=60, level=level, weights=None if weights is None else np.array(weights)
    )
    expected_mean = sum(w * v for w, v in zip(used, VALUES, strict=True)) / sum(used)
    assert float(interval.mean) == pytest.approx(expected_mean, rel=1e-12)
    low, high = np.quantile(figures, [0.5 - level / 2, 0.5 + level / 2])
    assert (float(interval.low), float(interval.high)) == pytest.approx((low, high), rel=1e-12)


def test_several_metrics_share_their_draws() -> None:
    both = np.stack([VALUES, VALUES**2], axis=1)
    interval = bootstrap_interval(both, USERS, seed=3, draws=60)
    assert interval.mean.shape == interval.low.shape == interval.high.shape == (2,)
    for column in range(2):
        alone = bootstrap_interval(both[:, column], USERS, seed=3, draws=60)
        assert alone.low.shape == ()
        assert [part[column] for part in interval] == pytest.approx([float(part) for part in alone], rel=1e-12)


def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_interval(VALUES, USERS, seed=4, draws=50)
    monkeypatch.setattr(intervals, "_DRAWN_AT_ONCE", 12)
    assert bootstrap_interval(VALUES, USERS, seed=4, draws=50) == whole
    assert bootstrap_interval(VALUES, USERS, seed=5, draws=50) != whole


def test_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        skill = rng.normal(0.4, 0.2, size=60)  # users differ, and their rows are alike
        users = np.repeat(np.arange(60), 5)
        interval = bootstrap_interval(skill[users] + rng.normal(0, 0.05, users.size), users, seed=trial, draws=200, level=0.9)
        covered += bool(interval.low <= 0.4 <= interval.high)
    assert 0.82 <= covered / 200 <= 0.96


def test_rows_of_weight_zero_are_left_out() -> None:
    weights = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    keep = weights > 0  # leaves user 9 without rows
    with_zero = bootstrap_interval(VALUES, USERS, seed=0, draws=40, weights=weights)
    assert with_zero == bootstrap_interval(VALUES[keep], USERS[keep], seed=0, draws=40)


def test_one_user_has_an_interval_without_width() -> None:
    interval = bootstrap_interval(np.array([0.0, 1.0]), np.array([3, 3]), seed=0, draws=10)
    assert [float(part) for part in interval] == [0.5, 0.5, 0.5]


def test_memory_stays_small() -> None:
    users = np.arange(300_000)
    values = np.linspace(0, 1, users.size)
    tracemalloc.start()
    bootstrap_interval(values, users, seed=0, draws=12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.array([])}, r"must fit; came \(0,\), \(7,\) and None"),
        ({"values": np.zeros((7, 1, 1))}, r"must fit; came \(7, 1, 1\)"),
        ({"users": np.zeros(3)}, r"must fit; came \(7,\), \(3,\) and None"),
        ({"weights": np.ones(2)}, r"must fit; came \(7,\), \(7,\) and \(2,\)"),
        ({"values": np.array([], dtype=float), "users": np.array([], dtype=int)}, r"weight above 0 to average; came 0 rows"),
        ({"weights": np.zeros(7)}, r"weight above 0 to average; came 7 rows"),
        ({"values": np.where(np.arange(7) == 4, math.nan, VALUES)}, r"values must be finite; came .*nan.* at row 4"),
        ({"weights": np.where(np.arange(7) == 2, -1.0, 1.0)}, r"weights must be finite and not negative; came -1.0 at row 2"),
        ({"draws": 0}, r"draws must be at least 1; came 0"),
        ({"level": 1.0}, r"level must be in \(0, 1\); came 1.0"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"values": VALUES, "users": USERS, "seed": 0}
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**{**arguments, **change})


def test_a_paired_difference_is_the_interval_of_the_differences() -> None:
    other = VALUES[::-1].copy()
    difference = paired_difference(VALUES, other, USERS, seed=3, draws=60)
    interval = bootstrap_interval(VALUES - other, USERS, seed=3, draws=60)
    assert [float(part) for part in difference[:3]] == pytest.approx([float(part) for part in interval], rel=1e-12, abs=1e-15)


def test_the_p_value_counts_draws_on_the_other_side() -> None:
    other = np.array([0.0, 0.5, 0.75, 0.5, 0.5, 0.5, 0.75])
    difference = paired_difference(VALUES, other, USERS, seed=3, draws=60)
    draws = oracle((VALUES - other).tolist(), USERS.tolist(), [1.0] * 7, draws=60, seed=3)
    at_most, at_least = sum(draw <= 0 for draw in draws), sum(draw >= 0 for draw in draws)
    assert 0 < at_most < at_least
    assert float(difference.p_value) == pytest.approx(2 * (at_most + 1) / 61, rel=1e-12)
    mirrored = paired_difference(other, VALUES, USERS, seed=3, draws=60)
    assert float(mirrored.p_value) == float(difference.p_value)
    same = paired_difference(VALUES, VALUES, USERS, seed=3, draws=60)
    assert [float(part) for part in same] == [0.0, 0.0, 0.0, 1.0]
    clear = paired_difference(VALUES + 1, VALUES, np.arange(7), seed=3, draws=60)
    assert float(clear.p_value) == pytest.approx(2 / 61, rel=1e-12)


@pytest.mark.parametrize(("users", "p_value"), [([4] * 7, 1.0), ([4, 4, 4, 4, 9, 9, 9], 0.5), (USERS.tolist(), 0.125)])
def test_a_few_users_prove_nothing_however_alike_they_are(users: list[int], p_value: float) -> None:
    clear = paired_difference(VALUES + 1, VALUES, np.array(users), seed=3)
    assert float(clear.p_value) == p_value
    weights = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    rest = paired_difference(VALUES + 1, VALUES, np.array([1, 1, 2, 3, 4, 5, 6]), seed=3, weights=weights)
    assert float(rest.p_value) == 0.5  # users whose rows weigh nothing are none


def test_paired_differences_of_several_metrics_and_with_weights() -> None:
    both_a, both_b = np.stack([VALUES, VALUES], axis=1), np.stack([VALUES[::-1], VALUES], axis=1)
    weights = np.arange(1.0, 8.0)
    difference = paired_difference(both_a, both_b, USERS, seed=1, draws=30, weights=weights, level=0.5)
    assert all(part.shape == (2,) for part in difference)
    expected = np.average(both_a - both_b, axis=0, weights=weights)
    assert difference.mean.tolist() == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-15)
    wide = paired_difference(both_a, both_b, USERS, seed=1, draws=30, weights=weights, level=0.99)
    assert wide.low[0] < difference.low[0] < difference.high[0] < wide.high[0]


def test_training_seeds_are_drawn_too() -> None:
    # all users agree, so that only the seeds make the difference uncertain
    users, ones = np.arange(50), np.ones(50)
    many = nested_difference([0.2 * ones, 0.4 * ones, 0.6 * ones], [0.1 * ones], users, seed=0, draws=2000)
    assert float(many.mean) == pytest.approx(0.3, rel=1e-12)
    figures = sorted({round(float(value), 9) for value in (many.low, many.high)})
    assert figures[0] == pytest.approx(0.1, abs=1e-9)
    assert figures[1] == pytest.approx(0.5, abs=1e-9)
    turned = nested_difference([0.1 * ones], [0.2 * ones, 0.4 * ones, 0.6 * ones], users, seed=0, draws=2000)
    assert float(turned.mean) == pytest.approx(-0.3, rel=1e-12)
    assert float(turned.low) == pytest.approx(-0.5, abs=1e-9)
    # a draw of 2 seeds out of 3 has the variance 2/3 * 0.2^2 / 2, which is that of the mean of 3 seeds, 0.2^2 / 3: a quarter of
    # the draws lie at 0.2 or below (1/9 + 2/9), and as many at 0.4 or above
    half = nested_difference([0.2 * ones, 0.4 * ones, 0.6 * ones], [0.1 * ones], users, seed=0, draws=2000, level=0.5)
    assert float(half.low) == pytest.approx(0.2, abs=1e-9)
    assert float(half.high) == pytest.approx(0.4, abs=1e-9)


def test_seeds_without_a_difference_change_nothing() -> None:
    other = VALUES[::-1].copy()
    one = paired_difference(VALUES, other, USERS, seed=3, draws=60)
    three = nested_difference([VALUES] * 3, [other] * 2, USERS, seed=3, draws=60)
    assert [float(part) for part in three] == pytest.approx([float(part) for part in one], rel=1e-9, abs=1e-12)


def test_rankers_must_have_seeds_and_equal_rows() -> None:
    with pytest.raises(ValueError, match=r"at least one seed; came 0 and 1"):
        nested_difference([], [VALUES], USERS, seed=0)
    with pytest.raises(ValueError, match=r"one shape, row for row; came \[\(3,\), \(7,\)\]"):
        paired_difference(VALUES, VALUES[:3], USERS, seed=0)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.001, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.004, 0.06, 0.06])
    assert holm([0.8, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], level: float) -> None:
    rejected = set()
    for step, row in enumerate(sorted(range(len(p_values)), key=lambda row: p_values[row])):
        if p_values[row] * (len(p_values) - step) > level:
            break
        rejected.add(row)
    assert set(np.flatnonzero(holm(p_values) <= level).tolist()) == rejected


@pytest.mark.parametrize("p_values", [[0.5, 1.5], [-0.1], [math.nan]])
def test_holm_refuses_what_is_no_p_value(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        holm(p_values)


def test_a_ratio_is_of_the_means_and_its_draws_are_paired() -> None:
    rng = np.random.default_rng(6)
    users = rng.integers(0, 40, 300)
    reference = rng.random(300)
    half = bootstrap_ratio(reference / 2, reference, users, seed=1)
    assert (float(half.mean), float(half.low), float(half.high)) == pytest.approx((0.5, 0.5, 0.5))  # alike in every draw
    other = rng.random(300)
    found = bootstrap_ratio(other, reference, users, seed=1, draws=400)
    assert float(found.mean) == pytest.approx(other.mean() / reference.mean())
    drawn = np.random.default_rng(1).integers(0, 40, size=(400, 40))
    ratios = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(users == user) for user in draw])
        ratios.append(other[rows].mean() / reference[rows].mean())
    assert (float(found.low), float(found.high)) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])))


def test_a_ratio_needs_a_reference() -> None:
    with pytest.raises(ValueError, match="must be above 0; came 0"):
        bootstrap_ratio(np.ones(3), np.zeros(3), np.arange(3), seed=0)
    rare = bootstrap_ratio(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.arange(2), seed=0)
    assert (float(rare.low), float(rare.high)) == (1.0, 1.0)  # draws in which the reference is 0 tell nothing
    alone = np.eye(400)[0]
    nothing = next(
        found for seed in range(9) if np.isnan((found := bootstrap_ratio(alone, alone, np.arange(400), seed=seed, draws=1)).low)
    )
    assert (float(nothing.mean), bool(np.isnan(nothing.high))) == (1.0, True)
