"""Values that the vocabulary does not know: most of them, or into a row that nothing has trained."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["UnknownValues", "check_vocabulary"]

_MOST = 0.5
"""Share of unknown values from which a feature is mostly unknown."""
_UNTRAINED = 0.01
"""Share from which a row of unknown values must have been trained."""


@dataclass(frozen=True)
class UnknownValues:
    """How often a feature meets the row of unknown values (row 0 of its table).

    Attributes:
        feature: Its name.
        tower: ``query`` or ``candidate``.
        test: Share of the test rows' values that are unknown, in [0, 1]; each word or item of a list is a value.
        train: The same of the train rows.
        trained: Whether anything trains that row: values that train does not know either (min_count), or id dropout, of this
            feature or of one that shares its table.
    """

    feature: str
    tower: str
    test: float
    train: float
    trained: bool


def check_vocabulary(features: tuple[UnknownValues, ...]) -> Finding | None:
    """Find features that the test rows have hardly any known value of, and rows of unknown values that are left to chance."""
    found: list[str] = []
    fix: list[str] = []
    untrained = False
    for entry in features:
        chance = not entry.trained and entry.test >= _UNTRAINED
        if not chance and entry.test < _MOST:
            continue
        untrained |= chance
        state = (
            "nothing has trained their row, which is still at its random start"
            if chance
            else "they all share one row, and can't be told apart"
        )
        found.append(
            f"{entry.test:.0%} of the values of {entry.feature!r} ({entry.tower}) in test rows are unknown, "
            f"{entry.train:.0%} in train "
            f"rows: {state}"
        )
        if chance:
            fix.append(f"{entry.tower}.features: embedding.id_dropout = 0.01 for {entry.feature!r}, or min_count = 2")
        if entry.test >= _MOST:
            fix.append(
                f"{entry.tower}.features: leave out {entry.feature!r}, lower its min_count, or put beside it what unknown "
                "values have "
                "too (history, columns of users or items)"
            )
    if not found:
        return None
    return Finding(
        code="out_of_vocabulary",
        severity="fault" if untrained else "warning",
        title="Values of the test rows are not in the vocabulary",
        evidence=tuple(found),
        why="An unknown value is read as the row of all unknown ones. Where most are unknown, the feature is a constant; "
        "where that "
        "row was never trained, it is noise that the model has never met.",
        fix=tuple(fix),
    )
