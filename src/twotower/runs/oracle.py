"""The best that can be done on a planted log, beside the model: which share of it the model reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data import Examples
from twotower.data.consecutive import taken
from twotower.datasets import LivestreamTruth
from twotower.errors import ConfigError, DataError, TwotowerError
from twotower.evaluation import JudgedRows, Scorer
from twotower.metrics import bootstrap_ratio
from twotower.runs.judge import MakeScorer
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables
from twotower.types import Ragged

__all__ = ["oracle_ranker", "oracle_summary"]


def oracle_ranker(recipe: Recipe, tables: Tables, fit_rows: NDArray[np.int64]) -> MakeScorer:
    """What knows the truth of a planted log (``baselines.truth``) as a ranker of the test rows.

    Args:
        recipe: Names the truth.
        tables: The log, every row of it.
        fit_rows: Rows that the judged model is fitted on: whose users are warm, and what the catalogue is made from.

    Raises:
        ConfigError: If the truth can't be read, or is not that of the log.
    """
    path, interactions = recipe.baselines.truth, tables.interactions
    assert path is not None
    try:
        truth = LivestreamTruth.open(Path(path))
    except TwotowerError as error:
        raise ConfigError(f"baselines.truth: {error}") from None
    report = interactions.report
    if report.rows_kept != truth.facts.rows or report.sampled_from is not None or report.skipped:
        raise ConfigError(
            f"baselines.truth: the truth is of {truth.facts.rows:,} rows and knows each by its number; the interactions have "
            f"{report.rows_kept:,}: name the truth of this log, and keep all of its rows (no sample, nothing left out)"
        )
    rows = tables.split.test
    warm = np.zeros(len(tables.user_ids), dtype=np.bool_)
    warm[taken(tables.user_rows, fit_rows)] = True
    user_rows = tables.user_rows[rows]
    viewers, items = tables.users_of(rows), tables.catalogue(fit_rows).ids

    def scorer(examples: Examples) -> Scorer:
        if not np.array_equal(examples.user_rows.numpy(), user_rows):
            raise ValueError(f"the oracle is of the {len(rows)} test rows; came {len(examples)} others")
        return truth.scorer(viewers, rows, warm[user_rows], examples.seen, items)

    try:
        truth.scorer(viewers, rows, warm[user_rows], _nothing_seen, items[:0])
    except DataError as error:
        raise ConfigError(f"baselines.truth: {error}") from None
    return scorer


def _nothing_seen(rows: Tensor) -> Ragged:
    return Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(len(rows) + 1, dtype=torch.int64))


def oracle_summary(recipe: Recipe, judged: JudgedRows, frozen: JudgedRows | None) -> dict[str, Any]:
    """The model's last recall as a share of the oracle's, for JSON; nothing where one of them was not judged.

    Args:
        recipe: Cut-offs, bootstrap.
        judged: The test rows.
        frozen: The same with histories frozen at the cut, where they grow.

    Returns:
        ``oracle``: ``metric``, and ``shares``: by group (``all``; where there are both, ``warm`` and ``cold``; and
        ``cold_frozen``: cold users with histories frozen at the cut, of whom both know the attributes alone) and variant,
        ``share`` and the ends of its 95% interval over users, ``low`` and ``high`` (None without draws). A group in which the
        oracle finds nothing is left out.
    """
    if not {"model", "oracle"} <= judged.rankers.keys():
        return {}
    metric = f"recall@{recipe.evaluation.ks[-1]}"
    groups = {"all": (judged, np.ones(len(judged), dtype=np.bool_))}
    if judged.warm.any() and not judged.warm.all():
        groups |= {"warm": (judged, judged.warm), "cold": (judged, ~judged.warm)}
        if frozen is not None:
            groups["cold_frozen"] = (frozen, ~frozen.warm)
    shares: dict[str, dict[str, Any]] = {}
    for group, (rows, mask) in groups.items():
        for variant, removed in (("seen_included", False), ("seen_removed", True)):
            model, oracle = (rows.values(name, metric, removed=removed)[mask] for name in ("model", "oracle"))
            if not oracle.any():
                continue
            share: dict[str, float | None] = {"share": float(model.mean() / oracle.mean()), "low": None, "high": None}
            if recipe.evaluation.draws:
                users, draws = rows.user_rows[mask], recipe.evaluation.draws
                found = bootstrap_ratio(model, oracle, users, seed=recipe.seed, draws=draws)
                if not np.isnan(found.low):
                    share |= {"low": float(found.low), "high": float(found.high)}
            shares.setdefault(group, {})[variant] = share
    return {"oracle": {"metric": metric, "shares": shares}}
