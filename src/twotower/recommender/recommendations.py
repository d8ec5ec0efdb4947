"""What a recommender answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.index import SearchResult

__all__ = ["Recommendations", "free_names"]

_OWN = ("query", "rank", "score")


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Ranked items for one or more queries.

    Attributes:
        frame: One row per recommended item: ``query`` (Int64, number of the request, from 0), ``rank`` (Int64, from 1), the
            item's id, ``score`` (Float32, raw similarity, comparable within a query), and the catalogue's other columns. A
            catalogue column of one of these names is called ``item_...``. A query for which fewer than k items may be
            recommended has fewer rows.
        assumed: Values that requests left out and that were filled in, by column: the end of train for the time, the
            median or the most frequent value of train for the rest.
    """

    frame: pl.DataFrame
    assumed: Mapping[str, object]

    @classmethod
    def from_search(
        cls,
        found: SearchResult,
        frame_of: Callable[[NDArray[np.int64]], pl.DataFrame],
        id_column: str,
        assumed: Mapping[str, object],
    ) -> Recommendations:
        """Look the rows of a search up.

        Args:
            found: What was found.
            frame_of: From rows to the columns of these items.
            id_column: The one of the ids.
            assumed: See the class.
        """
        rows_BK = found.rows_BK.numpy()
        exists_BK = rows_BK >= 0
        queries, places = np.nonzero(exists_BK)
        taken = frame_of(rows_BK[exists_BK])
        names = free_names(taken.columns, _OWN)
        taken = taken.rename(names)
        ids = taken[names[id_column]]
        head = pl.DataFrame(
            {
                "query": queries.astype(np.int64),
                "rank": places.astype(np.int64) + 1,
                ids.name: ids,
                "score": found.scores_BK.numpy()[exists_BK].astype(np.float32),
            }
        )
        return cls(head.hstack(taken.drop(ids.name)), assumed)


def free_names(columns: list[str], own: Sequence[str]) -> dict[str, str]:
    """Each column's name in an answer: its own, or with ``item_`` in front as often as it takes.

    Args:
        columns: Of the catalogue.
        own: Names that the answer uses itself.

    Example:
        >>> free_names(["title", "score"], ["query", "score"])
        {'title': 'title', 'score': 'item_score'}
    """
    names: dict[str, str] = {}
    for name in columns:
        free = name
        if name in own:
            while free in own or free in columns:
                free = f"item_{free}"
        names[name] = free
    return names
