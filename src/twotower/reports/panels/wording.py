"""Names of rankers and of figures as a reader meets them."""

from __future__ import annotations

from twotower.reports.chart import figure_text
from twotower.reports.content import Estimate, RunContent, Seen

__all__ = ["best_baseline", "compared_baselines", "estimate_text", "metric_text", "model_name", "ranker_text", "signed"]

_RANKERS = {
    "recent_popularity": "recent popularity",
    "segment_popularity": "popularity by segment",
    "item_neighbours": "item neighbours",
    "ease": "EASE",
    "ials": "iALS",
}


def ranker_text(name: str) -> str:
    """A ranker's name in words.

    Example:
        >>> ranker_text("ials"), ranker_text("popularity")
        ('iALS', 'popularity')
    """
    return _RANKERS.get(name, name)


def metric_text(metric: str, seen: Seen) -> str:
    """A figure with its variant.

    Example:
        >>> metric_text("recall@10", "removed")
        'recall@10, seen items removed'
    """
    return f"{metric}, seen items {seen}"


def model_name(run: RunContent, *, alone: bool) -> str:
    """What the model of a run is called: by the run's label, where there are several."""
    return "model" if alone else run.label


def signed(value: float) -> str:
    """With its sign, as differences are.

    Example:
        >>> signed(0.021), signed(-0.5), signed(0.0)
        ('+.0210', '-.5000', '0')
    """
    text = figure_text(value)
    return f"+{text}" if value > 0 else text


def estimate_text(estimate: Estimate) -> str:
    """A figure with its interval.

    Example:
        >>> estimate_text(Estimate(value=0.5, low=0.4, high=0.6)), estimate_text(Estimate(value=0.5))
        ('.5000 (.4000 to .6000)', '.5000')
    """
    if estimate.low is None or estimate.high is None:
        return figure_text(estimate.value)
    return f"{figure_text(estimate.value)} ({figure_text(estimate.low)} to {figure_text(estimate.high)})"


def best_baseline(run: RunContent) -> str | None:
    """The baseline that is best by the run's deciding figure, chance aside; None where there is none."""
    found = {
        ranker.name: ranker.figures(run.seen)[run.metric].value
        for ranker in run.rankers
        if ranker.name not in ("model", "random")
    }
    return max(found, key=lambda name: found[name]) if found else None


def compared_baselines(run: RunContent) -> list[str]:
    """The two baselines that crowded charts show: popularity, and the best one."""
    names = [ranker.name for ranker in run.rankers]
    wanted = dict.fromkeys(name for name in ("popularity", best_baseline(run)) if name in names)
    return [name for name in wanted if name is not None]
