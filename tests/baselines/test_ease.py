"""EASE: against least squares solved item by item, and a world whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from twotower.baselines import FitRows, ease_scores, fit_ease
from twotower.errors import ConfigError
from twotower.types import Ragged

MakeWorld = Callable[..., Any]
SeenOf = Callable[[list[list[int]]], Ragged]


@pytest.mark.parametrize("regularisation", [0.5, 20.0])
def test_every_column_is_a_ridge_regression_on_the_others(make_world: MakeWorld, regularisation: float) -> None:
    """The closed form solves N regressions, each of one item on all the others with no weight on itself."""
    rows, matrix_UN = make_world(3)
    weights_NN = fit_ease(rows, regularisation=regularisation)
    assert weights_NN.dtype == torch.float64
    for item in range(12):
        others = [other for other in range(12) if other != item]
        x = matrix_UN[:, others]
        solved = np.linalg.solve(x.T @ x + regularisation * np.eye(11), x.T @ matrix_UN[:, item])
        assert weights_NN[others, item].numpy() == pytest.approx(solved, abs=1e-12)
        assert weights_NN[item, item] == 0


def test_scores_sum_the_rows_of_what_was_seen(make_world: MakeWorld, seen_of: SeenOf) -> None:
    rows = make_world(4).rows
    weights_NN = fit_ease(rows, regularisation=3.0)
    histories = [[2, 0], [], [7], [0, 1, 2, 3, 4, 5]]
    scores_BN = ease_scores(weights_NN, seen_of(histories))
    for query, history in enumerate(histories):
        indicator = np.zeros(12)
        indicator[history] = 1
        assert scores_BN[query].numpy() == pytest.approx(indicator @ weights_NN.numpy(), abs=1e-12)


def test_two_items_that_come_together(seen_of: SeenOf) -> None:
    """X'X = [[n, n], [n, n]]: each predicts the other with n / (n + lambda)."""
    users = torch.arange(10).repeat(2)
    rows = FitRows(users, torch.tensor([0] * 10 + [1] * 10), num_users=10, num_items=2)
    weights_NN = fit_ease(rows, regularisation=5.0)
    assert weights_NN.flatten().tolist() == pytest.approx([0.0, 10 / 15, 10 / 15, 0.0])
    assert ease_scores(weights_NN, seen_of([[0]]))[0].tolist() == pytest.approx([0.0, 10 / 15])


def test_a_repeated_row_counts_once() -> None:
    once = FitRows(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), num_users=2, num_items=3)
    twice = FitRows(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1]), num_users=2, num_items=3)
    assert torch.equal(fit_ease(once, regularisation=1.0), fit_ease(twice, regularisation=1.0))


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, make_world: MakeWorld) -> None:
    rows = make_world(0).rows
    with pytest.raises(ValueError, match="above 0, or X'X may have no inverse; came 0"):
        fit_ease(rows, regularisation=0)
    alike = FitRows(torch.arange(3).repeat_interleave(6), torch.arange(6).repeat(3), num_users=3, num_items=6)
    with pytest.raises(ConfigError, match="1e-16 is lost in rounding"):
        fit_ease(alike, regularisation=1e-16)
    large = FitRows(torch.tensor([0]), torch.tensor([0]), num_users=1, num_items=10_001)
    with pytest.raises(ValueError, match=r"at most 10,000; came 10,001"):
        fit_ease(large, regularisation=1.0)
