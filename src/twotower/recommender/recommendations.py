"""What a recommender answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from twotower.data import IdTable
from twotower.index import SearchResult

__all__ = ["Recommendations"]


@dataclass(frozen=True)
class Recommendations:
    """Ranked items for one or more queries.

    Attributes:
        frame: One row per recommended item: ``query`` (number of the request, from 0), ``rank`` (from 1), the item's id,
            ``score`` (raw similarity, comparable within a query), and the catalogue's other columns. A catalogue column of
            one of these names is called ``item_...``. A query for which fewer than k items may be recommended has fewer rows.
        assumed: Values that requests left out and that were filled in, by column: the end of train for the time, the
            median or the most frequent value of train for the rest.
    """

    frame: pl.DataFrame
    assumed: Mapping[str, object]

    @classmethod
    def from_search(cls, found: SearchResult, catalogue: IdTable, assumed: Mapping[str, object]) -> Recommendations:
        """Look the rows of a search up in the catalogue."""
        rows = found.rows_BK.numpy()
        exists = rows >= 0
        queries, places = np.nonzero(exists)
        taken = catalogue.frame[rows[exists]]
        own = ("query", "rank", "score")
        taken = taken.rename({name: f"item_{name}" for name in own if name in taken.columns and name != catalogue.id_column})
        id_column = catalogue.id_column if catalogue.id_column not in own else f"item_{catalogue.id_column}"
        taken = taken.rename({catalogue.id_column: id_column} if id_column != catalogue.id_column else {})
        head = pl.DataFrame(
            {
                "query": queries.astype(np.int64),
                "rank": places.astype(np.int64) + 1,
                id_column: taken[id_column],
                "score": found.scores_BK.numpy()[exists].astype(np.float32),
            }
        )
        return cls(head.hstack(taken.drop(id_column)), assumed)
