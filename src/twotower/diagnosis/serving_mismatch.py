"""What is served differs from what was trained and judged."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["Clipped", "Served", "check_serving"]

_DIFFERENCE = 1e-3
"""Relative difference of two vectors from which they are not the same: float32 on another machine differs by a thousandth of
that."""
_MOST = 0.5
"""Share from which something holds for most rows or users."""
_FEW = 0.01
"""Share of vectors that may differ."""


@dataclass(frozen=True)
class Clipped:
    """A number or a time of which test rows lie outside of what train has shown, so that they are all encoded as its ends.

    Attributes:
        feature: Its name.
        share: Of the test rows that are outside, in [0, 1].
        minimum: Least value of train.
        maximum: Greatest value of train.
    """

    feature: str
    share: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Served:
    """The bundle's vectors beside those that evaluation makes, and test rows beside what was fitted.

    Attributes:
        items: Number of item vectors that were compared.
        items_differing: Share of those whose relative difference is above a thousandth.
        users: Number of users whose request was encoded both ways, from the same histories and contexts.
        users_differing: As for the items.
        clipped: Features with a fitted range.
        assumed: By column, the share of known users of whom a request that gives nothing but the id would assume the value;
            the time, which the end of train stands in for, is left out.
    """

    items: int
    items_differing: float
    users: int
    users_differing: float
    clipped: tuple[Clipped, ...] = ()
    assumed: tuple[tuple[str, float], ...] = ()

    @staticmethod
    def tolerance() -> float:
        """The relative difference from which two vectors are not the same."""
        return _DIFFERENCE


def check_serving(evidence: Served) -> Finding | None:
    """Find vectors, values and ranges that differ between training and serving."""
    found: list[str] = []
    fix: list[str] = []
    vectors = False
    for name, count, share in (
        ("item", evidence.items, evidence.items_differing),
        ("query", evidence.users, evidence.users_differing),
    ):
        if share > _FEW:
            vectors = True
            source = "the catalogue's features" if name == "item" else "the tables' histories and features"
            found.append(
                f"{share:.0%} of {count:,} {name} vectors of the bundle differ from those that its model makes of {source}"
            )
    if vectors:
        fix.append("write the bundle again from the run that was judged: twotower train RECIPE --overwrite")
    for entry in evidence.clipped:
        if entry.share >= _MOST:
            found.append(
                f"{entry.share:.0%} of the test rows have a {entry.feature!r} outside of train's range "
                f"({entry.minimum:,.6g} to "
                f"{entry.maximum:,.6g}): they are all encoded as its ends, so that the feature is a constant at serving"
            )
            fix.append(
                f"query.features: leave out {entry.feature!r}, or read of it what comes again: hour_of_day and day_of_week "
                "of a "
                "timestamp"
            )
    for column, share in evidence.assumed:
        if share >= _MOST:
            found.append(f"column {column!r} is assumed for {share:.0%} of the known users, of whom no value is stored")
            fix.append(f"query.features: declare missing for {column!r}, or give it with every request")
    if not found:
        return None
    return Finding(
        code="serving_mismatch",
        severity="fault" if vectors else "warning",
        title="What is served is not what was trained",
        evidence=tuple(found),
        why="The figures are of the vectors that evaluation made. Requests that are encoded otherwise get other lists, and "
        "no figure "
        "shows it.",
        fix=tuple(fix),
    )
