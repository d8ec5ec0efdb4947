"""Figures of rankers, as a report has them."""

from __future__ import annotations

from typing import Literal

from twotower.config import Config

__all__ = ["Comparison", "Curve", "Curves", "Estimate", "Group", "Grouping", "Outcome", "Ranker", "Seen"]

Seen = Literal["included", "removed"]
"""Whether what a user has seen competes in the ranking, or is removed from it."""


class Estimate(Config):
    """A figure with its 95% interval over users.

    Attributes:
        value: The mean.
        low: Lower end; None where no interval was drawn.
        high: Upper end; None where no interval was drawn.
    """

    value: float
    low: float | None = None
    high: float | None = None


class Ranker(Config):
    """One ranker on a run's test rows.

    Attributes:
        name: ``model``, or the name of a baseline.
        included: Figures by key (``recall@10``) with the whole catalogue competing.
        removed: The same with what the user has seen removed.
        settings: What was chosen for a baseline, in words; empty for none.
    """

    name: str
    included: dict[str, Estimate]
    removed: dict[str, Estimate]
    settings: str = ""

    def figures(self, seen: Seen) -> dict[str, Estimate]:
        """Those of one variant."""
        return self.included if seen == "included" else self.removed


class Comparison(Config):
    """Two rankers on the same rows, drawn together over users.

    Attributes:
        metric: Key of the figure.
        seen: Its variant.
        first: Label of the one.
        second: Label of the other.
        first_value: Mean of the one.
        second_value: Mean of the other.
        difference: First less second, with its interval.
        p_value: Two-sided, of no difference.
        users: How many were drawn.
    """

    metric: str
    seen: Seen
    first: str
    second: str
    first_value: float
    second_value: float
    difference: Estimate
    p_value: float
    users: int


class Curve(Config):
    """Recall of one ranker at every ``k`` of the curves.

    Attributes:
        name: Of the ranker.
        included: One recall per ``k``.
        removed: One recall per ``k``.
    """

    name: str
    included: tuple[float, ...]
    removed: tuple[float, ...]


class Curves(Config):
    """Recall against the length of the list.

    Attributes:
        ks: Ascending, from 1 up to the catalogue's size or 1,000.
        rankers: A curve each.
    """

    ks: tuple[int, ...]
    rankers: tuple[Curve, ...]


class Group(Config):
    """Some of the test rows.

    Attributes:
        name: In words.
        rows: How many.
        users: How many users they are of.
        items: How many items of the catalogue the group is made of; None where it is not made of items.
        rankers: The figure of each ranker on these rows.
    """

    name: str
    rows: int
    users: int
    items: int | None = None
    rankers: dict[str, Estimate]


class Grouping(Config):
    """The test rows in groups by one rule.

    Attributes:
        key: ``popularity``, ``history`` or ``warmth``.
        rule: How the groups were cut, in a sentence.
        metric: Key of the figure.
        seen: Its variant.
        groups: Without those that no row is in.
    """

    key: str
    rule: str
    metric: str
    seen: Seen
    groups: tuple[Group, ...]


class Outcome(Config):
    """How well a task beside retrieval predicts what a row came to.

    Attributes:
        name: Of the task.
        rows: Test rows judged: those with the outcome, whose item the catalogue holds.
        errors: By predictor, ``rmse`` and ``mae``, in the outcome's own unit.
        differences: By baseline, the model's mean squared error less that of the baseline; below 0, the model is better.
    """

    name: str
    rows: int
    errors: dict[str, dict[str, Estimate]]
    differences: dict[str, Estimate]
