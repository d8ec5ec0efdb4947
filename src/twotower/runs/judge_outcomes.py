"""The judgement of the tasks beside retrieval: errors of the predicted outcomes, beside means that need no model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.baselines import DampedMeans
from twotower.data import Examples
from twotower.distributed import ALONE, Ranks
from twotower.evaluation import predict_outcomes
from twotower.metrics import RatingErrors, rating_errors, squared_error_difference
from twotower.models import TwoTower
from twotower.runs.phase import Phase
from twotower.runs.recipe import Recipe
from twotower.runs.task_config import TaskConfig

__all__ = ["judge_outcomes", "outcome_errors"]


def judge_outcomes(
    recipe: Recipe, phase: Phase, model: TwoTower, rows: NDArray[np.int64], *, device: torch.device, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Judge every task of a recipe on rows, in a form that goes to JSON.

    All predictors are judged on the same rows: those that have the outcome and whose item the catalogue holds. The baselines
    are fitted on the train rows of the phase, and learn nothing after them: ``mean`` of all, and ``damped_means`` of items
    and users (see `twotower.baselines.DampedMeans`).

    Args:
        recipe: Tasks, bootstrap.
        phase: What the model was fitted on.
        model: In evaluation mode, on the device, with a head for every task.
        rows: Row numbers of the interactions.
        device: Where the model is.
        ranks: Those that predict together; all of them call this, and get the same.

    Returns:
        By name of the task: ``rows``, ``not_judged`` (rows without an outcome, or whose item the catalogue lacks), ``model``,
        ``mean`` and ``damped_means`` with ``rmse``, ``mae`` and their ``intervals``; ``differences``: the mean squared
        error of the model minus that of each baseline, with the interval of the paired bootstrap; and ``groups``: the errors
        for ``warm`` users, who have train rows, and ``cold`` ones, where there are both. Without rows to judge, only
        the counts. Empty for a recipe without tasks.
    """
    if not recipe.tasks:
        return {}
    examples = phase.examples(rows, grow=phase.grows)
    return {task.name: _judged(recipe, task, phase, model, examples, device, ranks) for task in recipe.tasks}


def outcome_errors(
    task: TaskConfig, model: TwoTower, phase: Phase, examples: Examples, *, device: torch.device, ranks: Ranks = ALONE
) -> dict[str, float]:
    """``rmse`` and ``mae`` of a model on examples; empty where none of them can be judged."""
    values = examples.outcomes[task.outcome].numpy()
    judged = _judgeable(values, examples)
    if not judged.any():
        return {}
    found = predict_outcomes(model, phase.items, examples, head=task.name, device=device, ranks=ranks)
    errors = rating_errors(found[judged], values[judged], examples.user_rows.numpy()[judged], draws=0)
    return {"rmse": errors.rmse, "mae": errors.mae}


def _judged(
    recipe: Recipe, task: TaskConfig, phase: Phase, model: TwoTower, examples: Examples, device: torch.device, ranks: Ranks
) -> dict[str, Any]:
    values = examples.outcomes[task.outcome].numpy()
    judged = _judgeable(values, examples)
    counts = {"rows": int(judged.sum()), "not_judged": int((~judged).sum())}
    if not judged.any():
        return counts
    users, items, values = examples.user_rows.numpy()[judged], examples.item_rows.numpy()[judged], values[judged]
    means = _means(task, phase)
    predictions = {
        "model": predict_outcomes(model, phase.items, examples, head=task.name, device=device, ranks=ranks)[judged],
        "mean": np.full(len(values), means.mean),
        "damped_means": means.predict(users, items),
    }
    draws, seed = recipe.evaluation.draws, recipe.seed
    figures = {
        name: _figures(rating_errors(found, values, users, draws=draws, seed=seed)) for name, found in predictions.items()
    }
    differences = {}
    for name in ("mean", "damped_means") if draws else ():
        found = squared_error_difference(predictions["model"], predictions[name], values, users, draws=draws, seed=seed)
        differences[name] = {
            "mean_squared_error": float(found.mean),
            "interval": [float(found.low), float(found.high)],
            "p_value": float(found.p_value),
        }
    warm = np.isin(users, phase.tables.user_rows[phase.fit_rows])
    groups: dict[str, Any] = {}
    for group, mask in (("warm", warm), ("cold", ~warm)) if warm.any() and not warm.all() else ():
        errors = {name: rating_errors(found[mask], values[mask], users[mask], draws=0) for name, found in predictions.items()}
        groups[group] = {"rows": int(mask.sum()), **{n: {"rmse": e.rmse, "mae": e.mae} for n, e in errors.items()}}
    return {**counts, **figures, "differences": differences, "groups": groups}


def _judgeable(values: NDArray[np.float64], examples: Examples) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values) & (examples.item_rows.numpy() >= 0))


def _means(task: TaskConfig, phase: Phase) -> DampedMeans:
    train = phase.train
    values = train.outcomes[task.outcome].numpy()
    known = ~np.isnan(values)
    return DampedMeans.fit(
        values[known],
        train.user_rows.numpy()[known],
        train.item_rows.numpy()[known],
        num_users=len(phase.tables.user_ids),
        num_items=len(phase.catalogue),
    )


def _figures(errors: RatingErrors) -> dict[str, Any]:
    intervals = {"rmse": errors.rmse_interval, "mae": errors.mae_interval}
    return {
        "rmse": errors.rmse,
        "mae": errors.mae,
        "intervals": {name: list(ends) for name, ends in intervals.items() if ends is not None},
    }
