"""A frozen index and a small exact one over what has changed since."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult, VectorIndex
from twotower.index.exact import ExactIndex
from twotower.types import Ragged

__all__ = ["LayeredIndex"]


class LayeredIndex:
    """Rows of a base, some of which are replaced or removed, and new rows behind them."""

    def __init__(self, base: VectorIndex, rows_M: Tensor, vectors_MD: Tensor, *, removed: Tensor, num_rows: int) -> None:
        self._base, self._rows_M = base, rows_M
        self._layer = ExactIndex.build(vectors_MD) if len(rows_M) else None
        self._num_rows = num_rows
        self._there = torch.ones(base.num_vectors, dtype=torch.bool)
        self._there[rows_M[rows_M < base.num_vectors]] = False
        self._there[removed[removed < base.num_vectors]] = False

    @property
    def num_vectors(self) -> int:
        return self._num_rows

    @property
    def embedding_dim(self) -> int:
        return self._base.embedding_dim

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        size = self._base.num_vectors
        mask = self._there if allowed is None else self._there & allowed[:size]
        mine = None if excluded is None else excluded.keep(excluded.values < size)
        found = self._base.search(queries_BD, k, excluded=mine, allowed=mask)
        if self._layer is None:
            return found
        places = torch.full((self._num_rows,), NO_ROW)
        places[self._rows_M] = torch.arange(len(self._rows_M))
        theirs = None
        if excluded is not None:
            values = places[excluded.values.long()]
            theirs = Ragged(values, excluded.offsets).keep(values >= 0)
        layer = self._layer.search(
            queries_BD, min(k, len(self._rows_M)), excluded=theirs, allowed=None if allowed is None else allowed[self._rows_M]
        )
        rows = torch.where(layer.rows_BK >= 0, self._rows_M[layer.rows_BK.clamp(min=0)], NO_ROW)
        rows_BK = torch.cat([found.rows_BK, rows], dim=1)
        scores_BK = torch.cat([found.scores_BK, layer.scores_BK], dim=1)
        by_row = torch.argsort(rows_BK, dim=1, stable=True)
        rows_BK, scores_BK = rows_BK.gather(1, by_row), scores_BK.gather(1, by_row)
        best = torch.argsort(scores_BK, dim=1, descending=True, stable=True)[:, :k]
        return SearchResult(rows_BK.gather(1, best), scores_BK.gather(1, best))
