"""Figures of one ranker on one set of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.rank import PositiveRanks

__all__ = ["Evaluation", "Figures"]


@dataclass(frozen=True)
class Figures:
    """Metrics of one variant (seen included or removed).

    Attributes:
        values: By key, for instance ``"recall@10"``; means over the unit.
        intervals: Low and high end by key; empty when no bootstrap was asked for.
        optimistic: Recall when every tie is won, by key, where that is more than .0005 above recall when every tie is lost.
        pessimistic: The other end, for the same keys.
        rows: float64 ``[units]``, per-unit values by key, for paired comparisons.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    optimistic: Mapping[str, float]
    pessimistic: Mapping[str, float]
    rows: Mapping[str, NDArray[np.float64]]

    def to_json(self) -> dict[str, Any]:
        """Without the per-row values."""
        return {
            "values": dict(self.values),
            "intervals": {key: list(ends) for key, ends in self.intervals.items()},
            "optimistic": dict(self.optimistic),
            "pessimistic": dict(self.pessimistic),
        }


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        unit: ``interaction`` (recall@k is the hit rate of each row in its own context) or ``user``.
        seen_included: The whole catalogue competes.
        seen_removed: What the user has seen does not compete.
        units: How many rows or users were judged.
        not_in_catalogue: Test rows whose item the catalogue lacks, each counted as a miss.
        seconds: Wall time of scoring and ranking.
        ranks: Of every positive that was judged: one per row, or all of a user's one after the other.
    """

    unit: str
    seen_included: Figures
    seen_removed: Figures
    units: int
    not_in_catalogue: int
    seconds: float
    ranks: PositiveRanks
