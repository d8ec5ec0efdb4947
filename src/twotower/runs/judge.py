"""The judgement of a run: the model beside its baselines on rows that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.baselines import PopularityScorer, RandomScorer
from twotower.data import Examples
from twotower.evaluation import Evaluation, ModelScorer, Scorer, evaluate, evaluate_per_user
from twotower.models import TwoTower
from twotower.runs.phase import Phase
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables

__all__ = ["judge", "summarised"]

Variants = dict[str, dict[str, float]]


def judge(recipe: Recipe, phase: Phase, model: TwoTower, rows: NDArray[np.int64], *, device: torch.device) -> dict[str, Any]:
    """Judge a model on rows, in a form that goes to JSON.

    Args:
        recipe: Cut-offs, bootstrap, units.
        phase: What the model was fitted on.
        model: In evaluation mode, on the device.
        rows: Row numbers of the interactions.
        device: Where the model is.

    Returns:
        ``model``, ``popularity`` and ``random``: each ``seen_included`` and ``seen_removed`` figures per interaction;
        ``details`` per ranker: intervals, ties, per user, warm and cold users, and with the histories frozen where they grow;
        ``counts`` and ``seconds``.
    """
    examples = phase.examples(rows, grow=phase.grows)
    counts = torch.from_numpy(phase.item_counts)
    scorers: dict[str, Scorer] = {
        "model": ModelScorer(model, phase.items, examples, device=device),
        "popularity": PopularityScorer(counts),
        "random": RandomScorer(len(counts), seed=recipe.seed),
    }
    frozen = phase.examples(rows, grow=False) if phase.grows else None
    warm = np.isin(examples.user_rows.numpy(), phase.tables.user_rows[phase.fit_rows])
    figures: dict[str, Variants] = {}
    details: dict[str, Any] = {}
    seconds = 0.0
    missing = 0
    for name, scorer in scorers.items():
        found = evaluate(scorer, examples, ks=recipe.evaluation.ks, draws=recipe.evaluation.draws, seed=recipe.seed)
        figures[name] = _variants(found)
        details[name] = _details(recipe, name, scorer, found, examples, warm)
        if frozen is not None:
            still = ModelScorer(model, phase.items, frozen, device=device) if name == "model" else scorer
            details[name]["frozen"] = _variants(evaluate(still, frozen, ks=recipe.evaluation.ks, draws=0))
        if name == "model":
            seconds, missing = found.seconds, found.not_in_catalogue
    return {
        **figures,
        "details": details,
        "counts": {
            "rows": len(rows),
            "users": int(np.unique(examples.user_rows.numpy()).size),
            "catalogue": len(phase.catalogue),
            "not_in_catalogue": missing,
            "warm_rows": int(warm.sum()),
            "cold_rows": int((~warm).sum()),
        },
        "seconds": seconds,
    }


def summarised(recipe: Recipe, tables: Tables, found: dict[str, Any]) -> dict[str, Any]:
    """What a judgement says, in the form of ``result.json``: the part that judging again gives as well."""
    split = tables.split
    return {
        "recipe": recipe.name,
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "metrics": {"test": found["model"]},
        "baselines": {"popularity": found["popularity"], "random": found["random"]},
        "evaluation": {"seconds": found["seconds"], **found["counts"]},
        "details": found["details"],
    }


def _variants(found: Evaluation) -> Variants:
    return {"seen_included": dict(found.seen_included.values), "seen_removed": dict(found.seen_removed.values)}


def _details(
    recipe: Recipe, name: str, scorer: Scorer, found: Evaluation, examples: Examples, warm: NDArray[np.bool_]
) -> dict[str, Any]:
    details: dict[str, Any] = {
        "intervals": {
            "seen_included": {key: list(ends) for key, ends in found.seen_included.intervals.items()},
            "seen_removed": {key: list(ends) for key, ends in found.seen_removed.intervals.items()},
        },
        "ties": {
            "seen_included": {"optimistic": found.seen_included.optimistic, "pessimistic": found.seen_included.pessimistic},
            "seen_removed": {"optimistic": found.seen_removed.optimistic, "pessimistic": found.seen_removed.pessimistic},
        },
    }
    if warm.any() and not warm.all():
        for group, mask in (("warm", warm), ("cold", ~warm)):
            details[group] = {
                variant: {key: float(values[mask].mean()) for key, values in rows.items()}
                for variant, rows in (("seen_included", found.seen_included.rows), ("seen_removed", found.seen_removed.rows))
            }
    if recipe.evaluation.per_user and name != "random":
        details["per_user"] = _variants(evaluate_per_user(scorer, examples, ks=recipe.evaluation.ks, draws=0))
    return details
