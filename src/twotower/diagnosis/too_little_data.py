"""Vectors that are wider than there are observations to place them by, and items that nothing has placed."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["IdTableLoad", "TrainingData", "check_width"]

_PER_NUMBER = 0.1
"""Train rows per id and per number of its vector below which there are too few: ten numbers from one row. MovieLens-100K at
width 64 has .7 of a row, catalogues of the usual benchmarks at their usual widths .15 to .3."""
_UNTRAINED = 0.25
"""Share of the catalogue that may have no train row where an item is nothing but its id."""


@dataclass(frozen=True)
class IdTableLoad:
    """An embedding table of ids.

    Attributes:
        feature: Name of the feature that reads it.
        tower: ``query`` or ``candidate``.
        ids: Ids with a row of their own.
        width: Numbers per row.
        rows: Train rows that read one of those ids.
    """

    feature: str
    tower: str
    ids: int
    width: int
    rows: int


@dataclass(frozen=True)
class TrainingData:
    """How much there is to learn, and to learn it from.

    Attributes:
        tables: Of features of one id per row.
        catalogue: Items that can be recommended.
        untrained: Those without a train row.
        only_item_ids: Whether the candidate reads nothing but the item's id.
    """

    tables: tuple[IdTableLoad, ...]
    catalogue: int
    untrained: int
    only_item_ids: bool


def check_width(evidence: TrainingData) -> Finding | None:
    """Find tables that are too wide for their rows, and a catalogue of ids that were never seen."""
    found: list[str] = []
    fix: list[str] = []
    for table in evidence.tables:
        per_id = table.rows / max(table.ids, 1)
        if per_id < _PER_NUMBER * table.width:
            found.append(
                f"{table.feature!r} ({table.tower}) has {table.ids:,} vectors of {table.width} numbers from {table.rows:,} "
                "train rows: "
                f"{per_id:.1f} rows for each vector"
            )
            fix.append(
                f"{table.tower}.features: embedding.dim = {_fitting(per_id)} for {table.feature!r}, or min_count = 5, so "
                "that rare ids "
                "share a row"
            )
    if evidence.only_item_ids and evidence.catalogue and evidence.untrained / evidence.catalogue > _UNTRAINED:
        share = evidence.untrained / evidence.catalogue
        found.append(
            f"{evidence.untrained:,} of {evidence.catalogue:,} items ({share:.0%}) have no train row, and an item is "
            "nothing but its "
            "id: they all have one vector"
        )
        fix.append(
            "candidate.features: add columns of the items (text, categories, numbers), or take such items out of the table"
        )
    if not found:
        return None
    return Finding(
        code="too_little_data",
        severity="warning",
        title="There is too little data for the width of the vectors",
        evidence=tuple(found),
        why="A vector of more numbers than its rows can place keeps its random start in most directions: noise that the "
        "train rows "
        "fit by heart.",
        fix=tuple(fix),
    )


def _fitting(rows_per_id: float) -> int:
    """The widest power of two, at least 4, for which there are enough rows."""
    width = 4
    while 2 * width * _PER_NUMBER <= rows_per_id and width < 64:
        width *= 2
    return width
