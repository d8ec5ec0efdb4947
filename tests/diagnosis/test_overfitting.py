from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twotower.diagnosis import Curve, check_overfitting

FAULT = Curve(
    metric="recall@100",
    epochs=(1, 2, 3, 4),
    figures=(0.5, 0.6, 0.55, 0.5),
    losses=(6.0, 5.0, 4.0, 3.0),
    kept_epoch=4,
    rows=8000,
)


def test_weights_of_long_after_the_best_epoch() -> None:
    finding = check_overfitting(FAULT)
    assert finding is not None
    assert "was 0.6000 after epoch 2; the kept weights are of epoch 4, where it is 0.5000" in finding.evidence[0]
    assert "fell from 5.000 to 3.000" in finding.evidence[1]
    assert "patience = 5" in finding.fix[0]


@pytest.mark.parametrize(
    "change",
    [
        {"kept_epoch": 2},  # early stopping kept the best
        {"kept_epoch": 9},  # of an epoch that was not validated
        {"figures": (0.5, 0.6, 0.59, 0.58)},  # 3 in 100 less
        {"rows": 40},  # within two standard errors of so few rows
        {"losses": (6.0, 5.0, 5.1, 5.2)},  # nothing was learned by heart: the training diverges
    ],
)
def test_every_condition_counts(change: dict[str, Any]) -> None:
    assert check_overfitting(replace(FAULT, **change)) is None


def test_errors_are_better_when_smaller() -> None:
    errors = replace(FAULT, metric="rating rmse", figures=(1.1, 0.9, 0.95, 1.2), smaller_is_better=True)
    assert check_overfitting(errors) is not None
    assert check_overfitting(replace(errors, kept_epoch=2)) is None


def test_a_curve_of_test_rows_is_nothing_to_choose_by() -> None:
    finding = check_overfitting(replace(FAULT, of_test=True))
    assert finding is not None
    assert "8,000 test rows" in finding.evidence[0]
    assert finding.fix[0].startswith("evaluation.validate_on = 'validation'")
