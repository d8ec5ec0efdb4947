"""Features that carry nothing: the figures are the same when their values are dealt out at random."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["Importance", "Importances", "check_features", "idle"]

_LEAST = 0.005
"""Part of the headline figure that a feature must be able to be worth: half a percent is .003 of a recall of .6, a third of
what another seed of the training does to it."""


@dataclass(frozen=True)
class Importance:
    """What one feature, or several together, are worth.

    Attributes:
        feature: Its name.
        tower: ``query`` or ``candidate``.
        drop: Mean loss of the figure when the feature's values change places, over several permutations.
        low: Low end of its 95% interval over users.
        high: Its high end.
        constant: Whether every value is the same.
    """

    feature: str
    tower: str
    drop: float
    low: float
    high: float
    constant: bool = False


@dataclass(frozen=True)
class Importances:
    """Permutation importance of every feature, on rows that the model was not trained on.

    Attributes:
        metric: The headline figure; larger is better.
        figure: Its value with all features in place.
        rows: How many rows were judged.
        features: One entry per feature.
        together: The importance of all features that are idle one by one, permuted at once: two features that say the same
            are each of no use beside the other. None where there are fewer than two.
    """

    metric: str
    figure: float
    rows: int
    features: tuple[Importance, ...]
    together: Importance | None = None


def idle(importance: Importance, figure: float, rows: int) -> bool:
    """Whether a feature carries nothing: the whole interval of its worth lies below half a percent of the figure.

    An interval that is wide, from few rows, is no proof of anything, and such a feature is not idle. Neither is no change at
    all in few rows, where the bootstrap has no width: what has not happened in ``n`` rows may still happen in 3 of ``n`` (the
    rule of three, Hanley and Lippman-Hand, JAMA 1983).
    """
    return importance.constant or max(importance.high, 3 / rows) < _LEAST * figure


def check_features(evidence: Importances) -> Finding | None:
    """Find features that carry nothing; none where they do so only one by one."""
    found = [entry for entry in evidence.features if idle(entry, evidence.figure, evidence.rows)]
    if evidence.together is not None and not idle(evidence.together, evidence.figure, evidence.rows):
        found = [entry for entry in found if entry.constant]
    if not found:
        return None
    names = ", ".join(repr(entry.feature) for entry in found)
    return Finding(
        code="idle_features",
        severity="warning",
        title=f"Features carry nothing: {names}",
        evidence=tuple(_sentence(entry, evidence) for entry in found),
        why="A feature that carries nothing costs parameters, memory and a column that every request has to bring, and is "
        "one more "
        "thing to learn noise from.",
        fix=tuple(f"{entry.tower}.features: leave out {entry.feature!r}, and compare on validation rows" for entry in found),
    )


def _sentence(entry: Importance, evidence: Importances) -> str:
    if entry.constant:
        return f"{entry.feature!r} ({entry.tower}) has the same value in every row"
    return (
        f"{entry.feature!r} ({entry.tower}): {evidence.metric} is {evidence.figure:.4f}, and falls by {entry.drop:.4f} "
        f"({entry.low:+.4f} to {entry.high:+.4f}) when its values change places among {evidence.rows:,} validation rows"
    )
