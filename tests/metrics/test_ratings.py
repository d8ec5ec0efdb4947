from __future__ import annotations

import math

import numpy as np
import pytest

from twotower.metrics import rating_errors, squared_error_difference


def world(rows: int = 60, users: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    values = rng.integers(1, 6, rows).astype(np.float64)
    return values + rng.normal(0, 1, rows), values, rng.integers(0, users, rows)


def test_errors_are_those_of_a_loop() -> None:
    predictions, values, users = world()
    found = rating_errors(predictions, values, users, draws=0)
    off = [p - v for p, v in zip(predictions.tolist(), values.tolist(), strict=True)]
    assert found.rmse == pytest.approx(math.sqrt(sum(x * x for x in off) / len(off)))
    assert found.mae == pytest.approx(sum(map(abs, off)) / len(off))
    assert (found.rmse_interval, found.mae_interval) == (None, None)


def test_intervals_draw_users() -> None:
    predictions, values, users = world()
    found = rating_errors(predictions, values, users, draws=400, seed=5)
    groups = [np.flatnonzero(users == user) for user in np.unique(users)]
    rng = np.random.default_rng(0)
    rmses, maes = [], []
    for _ in range(4000):
        rows = np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
        off = predictions[rows] - values[rows]
        rmses.append(math.sqrt((off**2).mean()))
        maes.append(np.abs(off).mean())
    assert found.rmse_interval == pytest.approx(np.quantile(rmses, [0.025, 0.975]).tolist(), abs=0.03)
    assert found.mae_interval == pytest.approx(np.quantile(maes, [0.025, 0.975]).tolist(), abs=0.03)
    assert found == rating_errors(predictions, values, users, draws=400, seed=5)
    assert found.rmse_interval != rating_errors(predictions, values, users, draws=400, seed=6).rmse_interval


def test_one_user_gives_an_interval_without_width() -> None:
    predictions, values, users = world()
    found = rating_errors(predictions, values, np.zeros_like(users), draws=10)
    assert found.rmse_interval == pytest.approx((found.rmse, found.rmse))


def test_the_better_predictor_has_a_difference_below_zero() -> None:
    _, values, users = world(rows=300)
    rng = np.random.default_rng(1)
    good, bad = values + rng.normal(0, 0.5, 300), values + rng.normal(0, 2.0, 300)
    found = squared_error_difference(good, bad, values, users, draws=200)
    assert float(found.mean) == pytest.approx(((good - values) ** 2).mean() - ((bad - values) ** 2).mean())
    assert float(found.high) < 0
    assert float(squared_error_difference(bad, good, values, users, draws=200).low) > 0
    same = squared_error_difference(good, good, values, users, draws=200)
    assert (float(same.low), float(same.high)) == (0.0, 0.0)


def test_what_can_not_be_judged_is_refused() -> None:
    predictions, values, users = world()
    with pytest.raises(ValueError, match="at least one row"):
        rating_errors(predictions[:0], values[:0], users[:0])
    with pytest.raises(ValueError, match="must fit"):
        rating_errors(predictions[1:], values, users)
    with pytest.raises(ValueError, match="one entry per row"):
        rating_errors(predictions, values, users[1:], draws=0)
    predictions[4] = np.nan
    with pytest.raises(ValueError, match="row 4 is not"):
        rating_errors(predictions, values, users)
