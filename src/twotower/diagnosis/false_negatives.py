"""Negatives that are none: known positives, and the query's own item, that compete with a query's positive."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["BatchNegatives", "check_negatives"]

_OWN_NATS = 0.1
"""Mean loss, in nats, that copies of the own item leave even to a perfect model: a tenth is seen in the figures."""
_KNOWN = 0.2
"""Share of the negatives that are known positives. One in five: on MovieLens-100K a softmax over the catalogue has one in
ten, which does no harm there; in-batch negatives, drawn by popularity, have one in four."""


@dataclass(frozen=True)
class BatchNegatives:
    """What competes with the positives, as the loss lets it compete, in real batches of train rows.

    Attributes:
        queries: Queries that were looked at.
        competitors: Mean number of negatives per query, each copy counted.
        own_copies: Mean number of further copies of a query's own item among them.
        own_nats: Mean of ``ln(1 + copies)``: the loss that is left when everything else is learned.
        known_share: Mean share of the negatives that are other items which the query's user is known to have.
        whole_catalogue: Whether the whole catalogue competes; otherwise the batch's own items do.
    """

    queries: int
    competitors: float
    own_copies: float
    own_nats: float
    known_share: float
    whole_catalogue: bool


def check_negatives(evidence: BatchNegatives) -> Finding | None:
    """Find batches in which queries are pushed away from what they should be near to."""
    repeats, known = evidence.own_nats >= _OWN_NATS, evidence.known_share >= _KNOWN
    if not repeats and not known:
        return None
    where = "the catalogue" if evidence.whole_catalogue else "a batch"
    found, fix = [], []
    if repeats:
        found.append(
            f"in {where}, a query has {evidence.own_copies:.1f} further copies of its own item among "
            f"{evidence.competitors:,.0f} negatives (mean over {evidence.queries:,} queries); they leave a loss of "
            f"{evidence.own_nats:.2f} that can't be learned away (a factor of {math.exp(evidence.own_nats):.1f})"
        )
        fix.append("loss.mask_accidental_hits = true")
    if known:
        found.append(
            f"{evidence.known_share:.0%} of the negatives that a query meets in {where} are items that its user is known to "
            "have"
        )
        fix.append("loss.mask_known_positives = true")
    if not evidence.whole_catalogue:
        fix.append("loss.kind = 'full', where the catalogue is small enough: every item competes once")
    return Finding(
        code="false_negatives",
        severity="warning",
        title="Positives compete as negatives" + (": a query is pushed away from its own item" if repeats else ""),
        evidence=tuple(found),
        why="The loss lowers the score of every negative. Where negatives are things that the user likes, it undoes what the "
        "positives teach, most of all for popular items, which occur most often.",
        fix=tuple(fix),
    )
