"""Search in float64 throughout: every product of every vector, tile by tile. What faster ways are held to."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult
from twotower.types import Ragged

__all__ = ["Float64Search", "LeaveOut", "top_columns"]

_FLOAT64_BYTES = 8
_SMALLEST_TILE = 1024


class Float64Search:
    """Products summed in float64 and rounded to float32; the k best by score, then by row.

    Args:
        vectors_ND: float32, finite.
        tile_bytes: A bound on each tensor that a search makes beside its results, as long as it is enough for some thousand
            scores and some vectors.
    """

    def __init__(self, vectors_ND: Tensor, tile_bytes: int) -> None:
        self._vectors_ND = vectors_ND
        self._tile_bytes = tile_bytes

    def search(self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None) -> SearchResult:
        """See `twotower.index.VectorIndex.search`; all is checked, float32 and on one device.

        Returns:
            Rows and scores, ``[B, k]``.
        """
        device = self._vectors_ND.device
        num_queries = len(queries_BD)
        rows_BK = torch.full((num_queries, k), NO_ROW, dtype=torch.int64, device=device)
        scores_BK = torch.full((num_queries, k), -torch.inf, dtype=torch.float32, device=device)
        block, tile = self._plan(num_queries)
        for start in range(0, num_queries, block):
            stop = min(start + block, num_queries)
            mine = None if excluded is None else excluded.take(torch.arange(start, stop, device=device))
            best = self._search_block(queries_BD[start:stop], k, mine, allowed, tile)
            found = best.rows_BK.shape[1]
            rows_BK[start:stop, :found] = best.rows_BK
            scores_BK[start:stop, :found] = best.scores_BK
        return SearchResult(rows_BK, scores_BK)

    def _plan(self, num_queries: int) -> tuple[int, int]:
        """How many queries to take at a time, and how many vectors, so that scores and vectors as float64 fit into a tile."""
        budget = self._tile_bytes // _FLOAT64_BYTES
        block = max(1, min(num_queries, budget // min(_SMALLEST_TILE, max(1, len(self._vectors_ND)))))
        return block, max(1, budget // max(block, self._vectors_ND.shape[1]))

    def _search_block(
        self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None, tile: int
    ) -> SearchResult:
        device = queries_BD.device
        rows_BK = torch.empty((len(queries_BD), 0), dtype=torch.int64, device=device)
        scores_BK = torch.empty((len(queries_BD), 0), dtype=torch.float32, device=device)
        queries_BD = queries_BD.double()
        leave_out = None if excluded is None else LeaveOut(excluded)
        for start in range(0, len(self._vectors_ND), tile):
            stop = min(start + tile, len(self._vectors_ND))
            scores_BT = (queries_BD @ self._vectors_ND[start:stop].double().T).float()
            scores_BT += 0.0  # minus zero becomes zero: as a tie, not as less
            if allowed is not None:
                scores_BT.masked_fill_(~allowed[start:stop], -torch.inf)
            if leave_out is not None:
                scores_BT[leave_out.places(start, stop)] = -torch.inf
            top = top_columns(scores_BT, min(k, stop - start))
            # what is there comes from lower rows and both are in order, so a stable sort keeps ties by lowest row
            scores_BM = torch.cat([scores_BK, top.scores_BK], dim=1)
            rows_BM = torch.cat([rows_BK, top.rows_BK + start], dim=1)
            scores_BM, order_BM = scores_BM.sort(dim=1, descending=True, stable=True)
            scores_BK, rows_BK = scores_BM[:, :k], rows_BM.gather(1, order_BM[:, :k])
        return SearchResult(rows_BK.masked_fill(scores_BK == -torch.inf, NO_ROW), scores_BK)


class LeaveOut:
    """Excluded rows of a block of queries, in the order of the rows, so that each tile finds its own at once."""

    def __init__(self, excluded: Ragged) -> None:
        device = excluded.values.device
        query = torch.repeat_interleave(torch.arange(excluded.num_rows, device=device), excluded.lengths)
        self._rows, order = excluded.values.to(torch.int64).sort()
        self._queries = query[order]

    def places(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """What is excluded in ``[start, stop)``: queries, and columns counted from ``start``; int64, both as long."""
        edges = torch.tensor([start, stop], device=self._rows.device)
        first, last = torch.searchsorted(self._rows, edges).tolist()
        return self._queries[first:last], self._rows[first:last] - start


def top_columns(scores_BT: Tensor, k: int) -> SearchResult:
    """The k best columns of each row, score descending, then column ascending; ``torch.topk`` promises nothing among ties."""
    if k == scores_BT.shape[1]:
        scores_BK, columns_BK = scores_BT.sort(dim=1, descending=True, stable=True)
        return SearchResult(columns_BK, scores_BK)
    scores_BM, columns_BM = scores_BT.topk(k + 1, dim=1)
    cut_B, columns_BK = scores_BM[:, k - 1], columns_BM[:, :k].contiguous()
    tied = ((cut_B == scores_BM[:, k]) & (cut_B > -torch.inf)).nonzero()[:, 0]
    if len(tied):
        columns_BK[tied] = _lowest_columns(scores_BT[tied], cut_B[tied, None], k)
    columns_BK = columns_BK.sort(dim=1).values
    scores_BK, order_BK = scores_BT.gather(1, columns_BK).sort(dim=1, descending=True, stable=True)
    return SearchResult(columns_BK.gather(1, order_BK), scores_BK)


def _lowest_columns(scores_BT: Tensor, cut_B1: Tensor, k: int) -> Tensor:
    """All columns above the cut, and of those at the cut the lowest, k together; ascending."""
    above_BT = scores_BT > cut_B1
    at_cut_BT = scores_BT == cut_B1
    room_B1 = k - above_BT.sum(dim=1, keepdim=True)
    kept_BT = above_BT | (at_cut_BT & (at_cut_BT.cumsum(dim=1) <= room_B1))
    return kept_BT.nonzero()[:, 1].view(-1, k)
