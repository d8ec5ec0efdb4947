"""How large the planted world is for a number of rows, and how its people behave: every number that was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["ViewerClass", "WorldShape", "shape_for"]


class ViewerClass(NamedTuple):
    """Viewers who watch about equally much.

    Attributes:
        row_share: Their part of all rows.
        mean_rows: Rows that one of them has in its whole window, on average.
        window: How long one is there, as a fraction of the log.
        personal: Part of a viewer's taste that its attributes do not explain, in [0, 1].
        returning: Probability that a watch is one of a favourite, in [0, 1].
    """

    row_share: float
    mean_rows: float
    window: float
    personal: float
    returning: float


_CALIBRATED_ROWS = 5_300_000
"""The size at which the figures of the world were set."""

_CLASSES = (
    ViewerClass(0.15, 1.0, 0.05, 0.15, 0.15),
    ViewerClass(0.18, 3.0, 0.06, 0.20, 0.25),
    ViewerClass(0.22, 8.0, 0.08, 0.35, 0.35),
    ViewerClass(0.22, 20.0, 0.12, 0.45, 0.40),
    ViewerClass(0.16, 60.0, 0.25, 0.50, 0.45),
    ViewerClass(0.07, 250.0, 0.50, 0.55, 0.50),
)


@dataclass(frozen=True)
class WorldShape:
    """The sizes of a planted world.

    Attributes:
        rows: n, rows of the log.
        communities: K; a broadcaster belongs to one.
        places: R, broadcasters of a community at any time.
        zipf: Weight of place r is ``(r + 1) ** -zipf``.
        stays: Shortest and longest stay of a broadcaster in its place, as fractions of the log.
        favourite_shares: How a viewer's returning watches are spread over its favourites.
        personal_communities: How many communities a viewer has of its own.
        mass_spread: Standard deviation of the logarithm of how many watches a community has.
        strengths: Standard deviation of the leaning of communities to values of each attribute.
        classes: Of viewers.
    """

    rows: int
    communities: int
    places: int
    zipf: float = 1.12
    stays: tuple[float, float] = (1.5, 6.0)
    favourite_shares: tuple[float, ...] = (0.5, 0.25, 0.15, 0.1)
    personal_communities: int = 2
    mass_spread: float = 0.95
    strengths: dict[str, float] = field(
        default_factory=lambda: {
            "country": 0.7,
            "language": 0.7,
            "network": 0.5,
            "band": 1.4,
            "gender": 1.1,
        }
    )
    classes: tuple[ViewerClass, ...] = _CLASSES


def shape_for(rows: int) -> WorldShape:
    """The world of a log of so many rows.

    Viewers grow with the rows, broadcasters a little more slowly, communities much more slowly; the more places a community
    has, the steeper its weights, so that the share of its first place stays about the same.
    """
    scale = rows / _CALIBRATED_ROWS
    communities = max(4, round(200 * scale**0.12))
    broadcasters = 355_000 * scale**0.9
    places = max(8, math.ceil(broadcasters / communities))
    return WorldShape(rows, communities, places, zipf=max(0.8, 1.12 + 0.08 * math.log10(scale)))
