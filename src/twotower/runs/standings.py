"""Who is better than whom on the same test rows, and where: the table at the end of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ConfigError
from twotower.evaluation import JudgedRows, compare_rankers, ranker_means
from twotower.runs.recipe import Recipe
from twotower.runs.watched import Watched

__all__ = ["Headline", "JudgedRun", "chosen_for", "headline_of", "standings"]

_VARIANTS = {"seen_included": False, "seen_removed": True}


@dataclass(frozen=True)
class Headline:
    """The figure that rankers are ordered by.

    Attributes:
        metric: ``recall@K``, ``ndcg@K`` or ``mrr``.
        removed: Whether seen items are removed, or compete.
    """

    metric: str
    removed: bool

    @property
    def variant(self) -> str:
        """``seen_included`` or ``seen_removed``."""
        return "seen_removed" if self.removed else "seen_included"


@dataclass(frozen=True)
class JudgedRun:
    """A run's ranks, or those of all baselines.

    Attributes:
        rows: As judged.
        frozen: With the histories frozen at the cut; None where they do not grow.
    """

    rows: JudgedRows
    frozen: JudgedRows | None


def headline_of(recipe: Recipe, metric: str | None, removed: bool | None) -> Headline:
    """What to rank by: what was asked for, else what stops the recipe's training early, else its last recall.

    Raises:
        ConfigError: If there is no such metric.
    """
    stopping = recipe.training.early_stopping
    default = f"recall@{recipe.evaluation.ks[-1]}"
    watched = Watched.of(stopping.metric if stopping is not None else default)
    if not watched.orders_rankers:  # an error of a rating head, say
        watched = Watched(default)
    chosen = watched.metric if metric is None else metric
    if not Watched(chosen).orders_rankers:
        raise ConfigError(f"metric must be recall@K, ndcg@K or mrr; came {chosen!r}")
    return Headline(chosen, (metric is None and watched.removed) if removed is None else removed)


def chosen_for(recipe: Recipe, headline: Headline) -> Recipe:
    """The recipe, with the settings of its baselines chosen by the rankings that are shown, unless it says otherwise itself."""
    if recipe.baselines.seen is not None:
        return recipe
    baselines = recipe.baselines.model_copy(update={"seen": "removed" if headline.removed else "included"})
    return recipe.model_copy(update={"baselines": baselines})


def standings(
    models: Mapping[str, Sequence[JudgedRun]],
    baselines: JudgedRun,
    headline: Headline,
    *,
    ks: Sequence[int],
    seed: int,
    draws: int = 1000,
) -> dict[str, Any]:
    """Rank models and baselines that were judged on the same rows.

    Args:
        models: By label, one run per training seed.
        baselines: All of them, on the same rows.
        headline: What to rank by.
        ks: Cut-offs of the recalls that are shown.
        seed: Of the bootstrap.
        draws: At least so many.

    Returns:
        For JSON. ``rows`` and ``users`` counted. ``rankers``, best first: ``name``, ``kind`` (``model`` or ``baseline``), the
        headline's ``mean``, ``low``, ``high`` and ``seeds``. ``views``: by name (``all``; ``frozen`` where histories grow;
        ``warm`` and ``cold`` where there are both, ``cold_items`` where there are some) and variant: ``rows``, ``figures`` by
        ranker and metric, and ``comparisons`` by the headline's metric, each ``of`` the ``models`` (every two of them) or of
        the ``baselines`` (every model with every baseline); those of one question are corrected together.
    """
    first = next(iter(models.values()))[0].rows
    metrics = list(dict.fromkeys([*(f"recall@{k}" for k in ks), "ndcg@10", "mrr", headline.metric]))
    views: dict[str, dict[str, Any]] = {}
    ranking: list[dict[str, Any]] = []
    for name, judged, mask in _views(models, baselines):
        users = first.user_rows[mask]
        views[name] = {}
        for variant, removed in _VARIANTS.items():
            values = {
                ranker: [each.values(inside, headline.metric, removed=removed)[mask] for inside, each in of_seeds]
                for ranker, of_seeds in judged.items()
            }
            compared = [
                {**asdict(each), "better": each.better, "sentence": each.sentence(), "of": question}
                for question, pairs in _pairs(list(models), values).items()
                for each in compare_rankers(values, users, pairs, seed=seed, draws=draws)
            ]
            views[name][variant] = {
                "rows": int(mask.sum()),
                "figures": {
                    ranker: {
                        metric: float(
                            np.mean([each.values(inside, metric, removed=removed)[mask].mean() for inside, each in of_seeds])
                        )
                        for metric in metrics
                    }
                    for ranker, of_seeds in judged.items()
                },
                "comparisons": compared,
            }
            if name == "all" and variant == headline.variant:
                means = ranker_means(values, users, seed=seed, draws=draws)
                ranking = [
                    {
                        "name": ranker,
                        "kind": "model" if ranker in models else "baseline",
                        **asdict(mean),
                        "seeds": list(mean.seeds),
                    }
                    for ranker, mean in sorted(means.items(), key=lambda entry: -entry[1].mean)
                ]
    return {
        "rows": len(first),
        "users": int(np.unique(first.user_rows).size),
        "rankers": ranking,
        "views": views,
    }


def _pairs(models: Sequence[str], values: Mapping[str, object]) -> dict[str, list[tuple[str, str]]]:
    """Two questions, each corrected for as many answers as it has: which model is better, and which is above the baselines."""
    baselines = [name for name in values if name not in models]
    against = [(model, baseline) for model in models for baseline in baselines]
    return {question: pairs for question, pairs in (("models", list(combinations(models, 2))), ("baselines", against)) if pairs}


_Judged = dict[str, list[tuple[str, JudgedRows]]]
"""By ranker: its name within each file of ranks, and the file, once per training seed."""


def _views(models: Mapping[str, Sequence[JudgedRun]], baselines: JudgedRun) -> Iterator[tuple[str, _Judged, NDArray[np.bool_]]]:
    """Parts and forms of the same test rows."""
    judged: _Judged = {label: [("model", run.rows) for run in runs] for label, runs in models.items()}
    judged |= {name: [(name, baselines.rows)] for name in baselines.rows.rankers}
    first = next(iter(models.values()))[0].rows
    everything = np.ones(len(first), dtype=np.bool_)
    yield "all", judged, everything
    runs = [run for of_label in models.values() for run in of_label]
    if baselines.frozen is not None and all(run.frozen is not None for run in runs):
        frozen: _Judged = {
            label: [("model", run.frozen) for run in of_label if run.frozen is not None] for label, of_label in models.items()
        }
        frozen |= {name: [(name, baselines.frozen)] for name in baselines.frozen.rankers}
        yield "frozen", frozen, everything
    if first.warm.any() and not first.warm.all():
        yield "warm", judged, first.warm
        yield "cold", judged, ~first.warm
    cold_items = (first.item_rows >= 0) & (first.item_counts == 0)
    if cold_items.any() and not cold_items.all():
        yield "cold_items", judged, cold_items
