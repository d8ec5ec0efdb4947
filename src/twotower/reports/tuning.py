"""What the page of a tuning says, as plain figures."""

from __future__ import annotations

from typing import Literal

from twotower.config import Config

__all__ = ["TunedKey", "TuningReport", "TuningTrial"]


class TunedKey(Config):
    """One key that was varied.

    Attributes:
        name: Dotted, as in a recipe.
        low: The lower end of its range, or its first choice, as text.
        high: The upper end, or the last choice.
        own: The recipe's own value.
        best: The best trial's value.
        importance: Share of what separates good trials from the others; None where it is not known.
    """

    name: str
    low: str
    high: str
    own: str
    best: str
    importance: float | None = None


class TuningTrial(Config):
    """One trial.

    Attributes:
        number: Counted from 0.
        state: ``done``, ``pruned`` (given up early) or ``failed``.
        settings: Its values as text, one per key.
        places: Where they lie between the ends, from 0 to 1, one per key.
        value: What it is compared by; None if it failed.
        epoch: The epoch of that figure.
        epochs: Of the curve.
        curve: The validation figure at each of these.
        reason: Why it failed; empty if it did not.
    """

    number: int
    state: Literal["done", "pruned", "failed"]
    settings: tuple[str, ...]
    places: tuple[float, ...]
    value: float | None
    epoch: int
    epochs: tuple[int, ...]
    curve: tuple[float, ...]
    reason: str = ""


class TuningReport(Config):
    """A tuning.

    Attributes:
        title: Of the page.
        metric: The validation figure that trials are compared by.
        smaller_is_better: Whether it is an error.
        rows: Validation rows.
        sentences: What was found.
        notes: What a reader must know.
        best: Number of the best trial.
        own: Number of the trial of the recipe as it was; None where there is none.
        keys: What was varied.
        trials: Those that ended, in the order of their numbers.
    """

    title: str
    metric: str
    smaller_is_better: bool
    rows: int
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    best: int
    own: int | None
    keys: tuple[TunedKey, ...]
    trials: tuple[TuningTrial, ...]
