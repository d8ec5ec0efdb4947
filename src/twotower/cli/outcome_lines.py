"""What a run found of a task beside retrieval: errors of the model beside those of means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["outcome_lines"]

_LEVEL = 0.05
_PREDICTORS = {"model": "model", "damped_means": "damped means", "mean": "mean"}


def outcome_lines(task: str, judged: Mapping[str, Any]) -> list[str]:
    """Lines of a verdict: RMSE with its 95% interval and MAE of each predictor, and whether the model is better than means.

    Args:
        task: Its name.
        judged: As `twotower.runs.judge_outcomes` has it.
    """
    if not judged["rows"]:
        return [f"{task}: no test row has one, so nothing was judged"]
    passed_over = f"; {judged['not_judged']:,} can't be judged" if judged["not_judged"] else ""
    lines = [
        f"{task} as predicted for {judged['rows']:,} test rows (smaller is better{passed_over})",
        " " * 14 + "".join(name.rjust(10) for name in ("rmse", "95% from", "to", "mae")),
    ]
    for name, title in _PREDICTORS.items():
        found = judged[name]
        cells = [found["rmse"], *found["intervals"].get("rmse", [None, None]), found["mae"]]
        lines.append((f"  {title}".ljust(14) + "".join(_cell(value).rjust(10) for value in cells)).rstrip())
    for group, title in (("warm", "with"), ("cold", "without")):
        if group in judged["groups"]:
            found = judged["groups"][group]
            lines.append(
                f"  rmse, users {title} train rows ({found['rows']:,} rows): "
                f"model {found['model']['rmse']:.4f}, means {found['damped_means']['rmse']:.4f}"
            )
    if "damped_means" in judged["differences"]:
        difference = judged["differences"]["damped_means"]
        low, high = difference["interval"]
        shown = difference["p_value"] < _LEVEL
        verdict = "better" if shown and high < 0 else "worse" if shown and low > 0 else "no difference that these rows can show"
        lines.append(f"  model against damped means: {verdict} (squared error {low:+.4f} to {high:+.4f})")
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
