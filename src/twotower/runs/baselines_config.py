"""The recipe's section about rankers without a tower: which ones, and what their settings are chosen from."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from twotower.config import Config

__all__ = [
    "BASELINE_NAMES",
    "BaselineName",
    "BaselinesConfig",
    "EaseGrid",
    "IalsGrid",
    "ItemNeighboursGrid",
    "RecentPopularityGrid",
    "SegmentPopularityGrid",
]

BaselineName: TypeAlias = Literal[
    "random", "popularity", "recent_popularity", "segment_popularity", "item_neighbours", "ease", "ials"
]

BASELINE_NAMES: tuple[BaselineName, ...] = get_args(BaselineName)
"""Every baseline, in the order in which they are listed."""

_Positive: TypeAlias = Annotated[float, Field(gt=0)]
_AtLeast0: TypeAlias = Annotated[float, Field(ge=0)]
_Count: TypeAlias = Annotated[int, Field(ge=1)]


class RecentPopularityGrid(Config):
    """What recent popularity is chosen from.

    Attributes:
        half_life_fraction: After which fraction of the fit rows a row counts half.
    """

    half_life_fraction: tuple[_Positive, ...] = Field(default=(0.1, 0.003, 0.01, 0.03, 0.3, 1.0), min_length=1)


class SegmentPopularityGrid(Config):
    """What popularity within a segment is chosen from, besides the segments.

    Attributes:
        strength: How many rows' worth of overall popularity is mixed into each segment's counts.
    """

    strength: tuple[_Positive, ...] = Field(default=(1000.0, 100.0, 10000.0), min_length=1)


class ItemNeighboursGrid(Config):
    """What item neighbours are chosen from.

    Attributes:
        neighbours: Kept of each item.
        shrinkage: Added to the denominator of the cosine.
    """

    neighbours: tuple[_Count, ...] = Field(default=(50, 20, 100, 200), min_length=1)
    shrinkage: tuple[_AtLeast0, ...] = Field(default=(10.0, 0.0, 100.0), min_length=1)


class EaseGrid(Config):
    """What EASE is chosen from.

    Attributes:
        regularisation: lambda.
    """

    regularisation: tuple[_Positive, ...] = Field(default=(300.0, 30.0, 100.0, 200.0, 500.0, 1000.0, 2000.0), min_length=1)


class IalsGrid(Config):
    """What iALS is chosen from.

    Attributes:
        factors: Width of the factors.
        regularisation: Of users and items alike.
        alpha: Confidence of a pair that occurs; one that does not has 1.
        iterations: Of users and items in turn.
    """

    factors: tuple[_Count, ...] = Field(default=(64,), min_length=1)
    regularisation: tuple[_AtLeast0, ...] = Field(default=(30.0, 3.0, 10.0, 60.0), min_length=1)
    alpha: tuple[_Positive, ...] = Field(default=(10.0, 5.0, 20.0), min_length=1)
    iterations: tuple[_Count, ...] = Field(default=(15,), min_length=1)


class BaselinesConfig(Config):
    """Rankers without a tower.

    Settings are chosen from all combinations of a baseline's lists, on the validation rows, by the metric that stops training
    early (else the last recall). Without validation rows the first of each list is taken.

    Attributes:
        train: Those that training judges beside the model.
        seen: Whether seen items are ``removed`` from the rankings by which settings are chosen, as they are from lists that
            are served, or ``included``. It matters to rankers that fold in a history: what is best with one is not with the
            other, for nothing is as like a history as the items in it. None: as the rankings do that are shown, so that no
            baseline stands there with settings that were chosen for something else; ``removed`` where both are shown alike.
        segments: Columns of the query, or combinations of them, within whose values popularity is counted; the best is chosen
            as the other settings are. None: each category feature of the query tower; where it has none, each text column of
            the users table.
        truth: The truth of a planted log (``twotower synth``), the log itself or the folder beside it: the ranker ``oracle``,
            the best that can be done with what is known at each row, is judged beside the others. None: there is none.
        recent_popularity: Grid of recent popularity.
        segment_popularity: Grid of popularity within a segment.
        item_neighbours: Grid of item neighbours.
        ease: Grid of EASE.
        ials: Grid of iALS.
    """

    train: tuple[BaselineName, ...] = ("popularity", "random")
    seen: Literal["removed", "included"] | None = None
    segments: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] | None = Field(default=None, min_length=1)
    truth: str | None = Field(default=None, min_length=1)
    recent_popularity: RecentPopularityGrid = RecentPopularityGrid()
    segment_popularity: SegmentPopularityGrid = SegmentPopularityGrid()
    item_neighbours: ItemNeighboursGrid = ItemNeighboursGrid()
    ease: EaseGrid = EaseGrid()
    ials: IalsGrid = IalsGrid()
