"""Errors of what a model predicts beside retrieval."""

from __future__ import annotations

from twotower.reports.chart import Table
from twotower.reports.content import Estimate, Outcome, Report
from twotower.reports.markup import Html
from twotower.reports.panel import Panel, table_html
from twotower.reports.panels.wording import estimate_text, signed

__all__ = ["outcomes_panel"]

_PREDICTORS = {"mean": "mean of train", "damped_means": "damped means of users and items"}


def outcomes_panel(report: Report) -> Panel | None:
    """The tasks of every run; None where there are none."""
    several = len(report.runs) > 1
    blocks = [
        _table(f"{run.label}: {outcome.name}" if several else outcome.name, outcome)
        for run in report.runs
        for outcome in run.outcomes
    ]
    if not blocks:
        return None
    lead = (
        "Errors of the predicted outcome, in its own unit; smaller is better. The last column is the model's mean "
        "squared error less the baseline's, on the same rows: below 0 it is better.",
    )
    return Panel("outcomes", "Predicted outcomes", lead, tuple(blocks))


def _table(title: str, outcome: Outcome) -> Html:
    rows = tuple(
        (
            _PREDICTORS.get(name, name),
            estimate_text(errors["rmse"]),
            estimate_text(errors["mae"]),
            _difference(outcome.differences.get(name)),
        )
        for name, errors in outcome.errors.items()
    )
    header = ("predictor", "RMSE", "MAE", "model less this one, mean squared error")
    return table_html(Table(header, rows), caption=f"{title}, {outcome.rows:,} rows", strong_rows=frozenset({0}))


def _difference(found: Estimate | None) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return signed(found.value)
    return f"{signed(found.value)} ({signed(found.low)} to {signed(found.high)})"
