"""How good rankers are: models and baselines by the same evaluation, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data import Examples
from twotower.data.consecutive import taken
from twotower.distributed import ALONE, Ranks
from twotower.evaluation import (
    Evaluation,
    Figures,
    JudgedRows,
    ModelScorer,
    Scorer,
    ShardedScorer,
    evaluate,
    evaluate_per_user,
)
from twotower.metrics import bootstrap_interval
from twotower.models import TwoTower
from twotower.runs.phase import Phase
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables

__all__ = ["Judgement", "MakeScorer", "judge", "model_ranker", "summarised"]

Variants = dict[str, dict[str, float]]

MakeScorer: TypeAlias = Callable[[Examples], Scorer]
"""A fitted ranker: given rows with their histories and contexts, it scores them."""

_WITHOUT_USERS = ("random",)
"""Rankers whose figures per user say nothing."""

_AT_ONCE = 4096


@dataclass(frozen=True)
class Judgement:
    """What judging gave.

    Attributes:
        figures: For JSON: ``rankers`` (by name, ``seen_included`` and ``seen_removed`` figures per interaction), ``details``
            (by name: intervals, ties, per user, warm and cold users, cold items, and with the histories frozen where they
            grow),
            ``counts`` and ``seconds`` (of the first ranker).
        rows: Every ranker's ranks of every row.
        frozen: The same with the histories frozen at the cut; None where they do not grow.
    """

    figures: dict[str, Any]
    rows: JudgedRows
    frozen: JudgedRows | None


def model_ranker(model: TwoTower, phase: Phase, *, device: torch.device, ranks: Ranks = ALONE) -> MakeScorer:
    """A trained model (in evaluation mode, on the device) as a ranker of rows of its phase.

    Of several ranks each scores its range of the catalogue: all of them call everything that scores, in the same order, and all
    get the answers of one process.
    """
    if ranks.size == 1:
        return lambda examples: ModelScorer(model, phase.items, examples, device=device)
    return lambda examples: ShardedScorer(model, phase.items, examples, device=device, ranks=ranks)


def judge(recipe: Recipe, phase: Phase, rows: NDArray[np.int64], rankers: Mapping[str, MakeScorer]) -> Judgement:
    """Judge rankers on rows, the model first.

    Args:
        recipe: Cut-offs, bootstrap, units.
        phase: What the rankers were fitted on.
        rows: Row numbers of the interactions.
        rankers: By name; at least one.
    """
    examples = phase.examples(rows, grow=phase.grows)
    still = phase.examples(rows, grow=False) if phase.grows else None
    trained = np.zeros(len(phase.tables.user_ids), dtype=np.bool_)
    trained[taken(phase.tables.user_rows, phase.fit_rows)] = True
    warm = trained[examples.user_rows.numpy()]
    judged = _rows(phase, rows, examples, warm)
    groups = {"warm": warm, "cold": ~warm, "cold_items": (judged.item_rows >= 0) & (judged.item_counts == 0)}
    frozen = None if still is None else _rows(phase, rows, still, warm)
    figures: dict[str, Variants] = {}
    details: dict[str, Any] = {}
    missing, seconds = 0, 0.0
    for name, ranker in rankers.items():
        scorer = ranker(examples)
        found = evaluate(scorer, examples, ks=recipe.evaluation.ks, draws=recipe.evaluation.draws, seed=recipe.seed)
        judged = judged.with_rankers({name: found.ranks})
        if not figures:
            missing, seconds = found.not_in_catalogue, found.seconds
        figures[name] = _variants(found)
        details[name] = _details(recipe, found, examples, groups)
        if recipe.evaluation.per_user and name not in _WITHOUT_USERS:
            per_user = evaluate_per_user(
                scorer, examples, ks=recipe.evaluation.ks, draws=recipe.evaluation.draws, seed=recipe.seed
            )
            details[name] |= {"per_user": _variants(per_user)}
            details[name]["group_intervals"]["per_user"] = _intervals(per_user)
        if still is not None and frozen is not None:
            found = evaluate(ranker(still), still, ks=recipe.evaluation.ks, draws=recipe.evaluation.draws, seed=recipe.seed)
            frozen = frozen.with_rankers({name: found.ranks})
            details[name] |= {"frozen": _variants(found)}
            details[name]["group_intervals"]["frozen"] = _intervals(found)
    counts = {
        "rows": len(rows),
        "users": int(np.unique(examples.user_rows.numpy()).size),
        "catalogue": len(phase.catalogue),
        "not_in_catalogue": missing,
        "warm_rows": int(warm.sum()),
        "cold_rows": int((~warm).sum()),
        "cold_item_rows": int(groups["cold_items"].sum()),
    }
    return Judgement({"rankers": figures, "details": details, "counts": counts, "seconds": seconds}, judged, frozen)


def summarised(recipe: Recipe, tables: Tables, found: dict[str, Any]) -> dict[str, Any]:
    """What a judgement's figures say, in the form of ``result.json``: the part that judging again gives as well."""
    split = tables.split
    return {
        "recipe": recipe.name,
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "metrics": {"test": found["rankers"]["model"]},
        "baselines": {name: figures for name, figures in found["rankers"].items() if name != "model"},
        "evaluation": {"seconds": found["seconds"], **found["counts"]},
        "details": found["details"],
    }


def _rows(phase: Phase, rows: NDArray[np.int64], examples: Examples, warm: NDArray[np.bool_]) -> JudgedRows:
    everything = torch.arange(len(rows))
    lengths = [examples.seen(everything[first : first + _AT_ONCE]).lengths for first in range(0, len(rows), _AT_ONCE)]
    items = examples.item_rows.numpy()
    return JudgedRows(
        rows=rows,
        user_rows=examples.user_rows.numpy(),
        item_rows=items,
        warm=warm,
        history_lengths=torch.cat(lengths).numpy() if lengths else np.zeros(0, dtype=np.int64),
        item_counts=np.where(items >= 0, phase.item_counts[items], 0),
        rankers={},
    )


def _variants(found: Evaluation) -> Variants:
    return {"seen_included": dict(found.seen_included.values), "seen_removed": dict(found.seen_removed.values)}


def _intervals(found: Evaluation) -> dict[str, dict[str, list[float]]]:
    variants = {"seen_included": found.seen_included, "seen_removed": found.seen_removed}
    return {variant: {key: list(ends) for key, ends in figures.intervals.items()} for variant, figures in variants.items()}


def _details(recipe: Recipe, found: Evaluation, examples: Examples, groups: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    variants = {"seen_included": found.seen_included, "seen_removed": found.seen_removed}
    details: dict[str, Any] = {
        "intervals": _intervals(found),
        "ties": {
            variant: {"optimistic": figures.optimistic, "pessimistic": figures.pessimistic}
            for variant, figures in variants.items()
        },
        "group_intervals": {},
    }
    users = examples.user_rows.numpy()
    for group, mask in groups.items():
        if not mask.any() or mask.all():
            continue
        details[group] = {
            variant: {key: float(values[mask].mean()) for key, values in figures.rows.items()}
            for variant, figures in variants.items()
        }
        details["group_intervals"][group] = _group_intervals(variants, mask, users, recipe)
    return details


def _group_intervals(
    variants: Mapping[str, Figures], mask: NDArray[np.bool_], users: NDArray[np.int64], recipe: Recipe
) -> dict[str, dict[str, list[float]]]:
    if not recipe.evaluation.draws:
        return {variant: {} for variant in variants}
    places = [(variant, key) for variant, figures in variants.items() for key in figures.rows]
    # side by side, for the draws are the same and cost more than the sums
    values = np.stack([variants[variant].rows[key][mask] for variant, key in places], axis=1)
    drawn = bootstrap_interval(values, users[mask], draws=recipe.evaluation.draws, seed=recipe.seed)
    found: dict[str, dict[str, list[float]]] = {variant: {} for variant in variants}
    for place, (variant, key) in enumerate(places):
        found[variant][key] = [float(drawn.low[place]), float(drawn.high[place])]
    return found
