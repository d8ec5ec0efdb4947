"""What a recommender predicts of pairs of a query and an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.recommender.recommendations import free_names

__all__ = ["Predictions"]

_OWN = ("query", "prediction")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted outcomes, one per pair.

    Attributes:
        frame: One row per pair, in the order of the request: ``query`` (Int64, number of the request, from 0), the item's id,
            and ``prediction`` (Float64, in the units of the task's column). An id column of one of these names is called
            ``item_...``.
        task: What was predicted.
        assumed: As `Recommendations.assumed`.
    """

    frame: pl.DataFrame
    task: str
    assumed: Mapping[str, object]

    @classmethod
    def of(
        cls,
        values: NDArray[np.float64],
        items: pl.Series,
        *,
        task: str,
        assumed: Mapping[str, object],
    ) -> Predictions:
        """Put predictions beside the ids of their items, a series named as in the catalogue."""
        names = free_names([items.name], _OWN)
        frame = pl.DataFrame(
            {
                "query": np.arange(len(items), dtype=np.int64),
                names[items.name]: items,
                "prediction": np.asarray(values, dtype=np.float64),
            }
        )
        return cls(frame, task, assumed)
