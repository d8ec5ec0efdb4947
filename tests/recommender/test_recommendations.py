"""From rows of a search to a frame of items."""

from __future__ import annotations

import polars as pl
import torch

from twotower.data import IdTable
from twotower.index import SearchResult
from twotower.recommender import Recommendations

FOUND = SearchResult(
    torch.tensor([[2, 0], [1, -1], [-1, -1]]), torch.tensor([[3.0, 1.0], [2.0, -torch.inf], [-torch.inf, -torch.inf]])
)


def answer(columns: dict[str, list[object]], id_column: str) -> pl.DataFrame:
    catalogue = IdTable.from_table(pl.DataFrame(columns), id_column)
    return Recommendations.from_search(FOUND, lambda rows: catalogue.frame[rows], catalogue.id_column, {}).frame


def test_a_row_per_item_that_was_found() -> None:
    frame = answer({"title": ["a", "b", "c"], "year": [1, 2, 3]}, "title")
    assert frame.to_dict(as_series=False) == {
        "query": [0, 0, 1],
        "rank": [1, 2, 1],
        "title": ["c", "a", "b"],
        "score": [3.0, 1.0, 2.0],
        "year": [3, 1, 2],
    }
    assert frame.schema == {"query": pl.Int64, "rank": pl.Int64, "title": pl.String, "score": pl.Float32, "year": pl.Int64}


def test_columns_of_our_names_step_aside() -> None:
    frame = answer({"rank": ["a", "b", "c"], "query": [1, 2, 3], "item_query": [4, 5, 6], "score": [0.1, 0.2, 0.3]}, "rank")
    assert frame.columns == ["query", "rank", "item_rank", "score", "item_item_query", "item_query", "item_score"]
    assert frame["item_rank"].to_list() == ["c", "a", "b"]
    assert frame["item_item_query"].to_list() == [3, 1, 2]
    assert frame["item_query"].to_list() == [6, 4, 5]


def test_nothing_found() -> None:
    catalogue = IdTable.from_table(pl.DataFrame({"item": [1, 2]}), "item")
    none = SearchResult(torch.empty(0, 3, dtype=torch.int64), torch.empty(0, 3))
    frame = Recommendations.from_search(none, lambda rows: catalogue.frame[rows], catalogue.id_column, {"at": 5}).frame
    assert frame.schema == {"query": pl.Int64, "rank": pl.Int64, "item": pl.Int64, "score": pl.Float32}
    assert frame.height == 0
