"""Exact search by dot product: every vector is scored. The reference that other indexes are held to."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index.contract import NO_ROW, SearchResult
from twotower.types import Ragged

__all__ = ["ExactIndex"]

_FLOAT64_BYTES = 8
_SMALLEST_TILE = 1024


class ExactIndex:
    """Scores every vector, tile by tile, and keeps the best; built by :meth:`build`.

    Products are summed in float64 and rounded to float32. Summed in float32, the same vector at two places of the catalogue can
    score differently in the last bit, and a query alone differently than in a batch, so that ties would be decided by the
    arithmetic. Ties go to the lowest row.

    A ``VectorIndex``. It lives on the device of its vectors, which must have float64 (a CPU or a CUDA device); queries come
    to it.

    Example:
        >>> index = ExactIndex.build(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        >>> result = index.search(torch.tensor([[2.0, 1.0]]), k=4, excluded=Ragged(torch.tensor([1]), torch.tensor([0, 1])))
        >>> result.rows_BK.tolist(), result.scores_BK.tolist()
        ([[0, 2, -1, -1]], [[2.0, 2.0, -inf, -inf]])
    """

    def __init__(self, vectors_ND: Tensor, max_norm: float, tile_bytes: int) -> None:
        self._vectors_ND = vectors_ND
        self._max_norm = max_norm
        self._tile_bytes = tile_bytes

    @classmethod
    def build(cls, vectors_ND: Tensor, *, tile_bytes: int = 16 * 2**20) -> Self:
        """Build an index over a copy of the vectors.

        Args:
            vectors_ND: Floats of any width (kept as float32), shape ``[N, D]``; N may be 0.
            tile_bytes: A bound on each tensor that a search makes beside its results, as long as it is enough for some
                thousand scores and some vectors.

        Raises:
            ValueError: If the shape or the dtype is another, or ``tile_bytes`` is not positive.
            DataError: If a vector holds NaN or an infinity; names the rows.
        """
        if tile_bytes < 1:
            raise ValueError(f"tile_bytes must be positive (came: {tile_bytes})")
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] == 0:
            raise ValueError(f"vectors must have the shape [N, D] with D >= 1 (came: {list(vectors_ND.shape)})")
        own_ND = _finite_float32(vectors_ND, "vectors").clone()
        norms_N = torch.linalg.vector_norm(own_ND, dim=1, dtype=torch.float64)
        return cls(own_ND, float(norms_N.max()) if len(norms_N) else 0.0, tile_bytes)

    @property
    def num_vectors(self) -> int:
        """How many vectors the index holds (N)."""
        return int(self._vectors_ND.shape[0])

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return int(self._vectors_ND.shape[1])

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find the k rows with the highest dot product, for each query: score descending, then row ascending.

        Args:
            queries_BD: Floats, shape ``[B, D]``; B may be 0.
            k: How many rows to return, at least 1; may exceed what exists.
            excluded: Rows in ``[0, N)`` that are not returned, for each query its own (ragged, B rows); in any order, and a row
                may come twice.
            allowed: bool, shape ``[N]``: where False, the row is not returned to any query.

        Returns:
            B rows of k results, on the device of the index. Where fewer exist, the rest is row -1 with score minus infinity.

        Raises:
            ValueError: If a shape, a dtype, k or an excluded row is not as above.
            DataError: If a query holds NaN or an infinity, or is so long that a score could leave the range of float32.
        """
        device = self._vectors_ND.device
        own_BD = self._checked_queries(queries_BD).to(device)
        num_queries = int(own_BD.shape[0])
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be an integer of at least 1 (came: {k!r})")
        if excluded is not None:
            _check_excluded(excluded, num_queries, self.num_vectors)
            excluded = excluded.to(device)
        if allowed is not None:
            if allowed.dtype != torch.bool or allowed.shape != (self.num_vectors,):
                came = f"{allowed.dtype} {list(allowed.shape)}"
                raise ValueError(f"allowed must be bool of shape [{self.num_vectors}], one per vector (came: {came})")
            allowed = allowed.to(device)
        rows_BK = torch.full((num_queries, k), NO_ROW, dtype=torch.int64, device=device)
        scores_BK = torch.full((num_queries, k), -torch.inf, dtype=torch.float32, device=device)
        block, tile = self._plan(num_queries)
        for start in range(0, num_queries, block):
            stop = min(start + block, num_queries)
            mine = None if excluded is None else excluded.take(torch.arange(start, stop, device=device))
            best = self._search_block(own_BD[start:stop], k, mine, allowed, tile)
            found = best.rows_BK.shape[1]
            rows_BK[start:stop, :found] = best.rows_BK
            scores_BK[start:stop, :found] = best.scores_BK
        return SearchResult(rows_BK, scores_BK)

    def _checked_queries(self, queries_BD: Tensor) -> Tensor:
        if queries_BD.ndim != 2 or queries_BD.shape[1] != self.embedding_dim:
            raise ValueError(f"queries must have the shape [B, {self.embedding_dim}] (came: {list(queries_BD.shape)})")
        own_BD = _finite_float32(queries_BD, "queries")
        norms_B = torch.linalg.vector_norm(own_BD, dim=1, dtype=torch.float64)
        # by Cauchy-Schwarz no score and no partial sum exceeds the product of the norms
        if bool((norms_B * self._max_norm > torch.finfo(torch.float32).max).any()):
            longest = int(norms_B.argmax())
            raise DataError(
                f"scores must fit into float32; query {longest} has the norm {float(norms_B[longest]):.3g} "
                f"and the longest vector {self._max_norm:.3g}: normalise them"
            )
        return own_BD

    def _plan(self, num_queries: int) -> tuple[int, int]:
        """How many queries to take at a time, and how many vectors, so that scores and vectors as float64 fit into a tile."""
        budget = self._tile_bytes // _FLOAT64_BYTES
        block = max(1, min(num_queries, budget // min(_SMALLEST_TILE, max(1, self.num_vectors))))
        return block, max(1, budget // max(block, self.embedding_dim))

    def _search_block(
        self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None, tile: int
    ) -> SearchResult:
        device = queries_BD.device
        rows_BK = torch.empty((len(queries_BD), 0), dtype=torch.int64, device=device)
        scores_BK = torch.empty((len(queries_BD), 0), dtype=torch.float32, device=device)
        queries_BD = queries_BD.double()
        leave_out = None if excluded is None else _LeaveOut(excluded)
        for start in range(0, self.num_vectors, tile):
            stop = min(start + tile, self.num_vectors)
            scores_BT = (queries_BD @ self._vectors_ND[start:stop].double().T).float()
            scores_BT += 0.0  # minus zero becomes zero: as a tie, not as less
            if allowed is not None:
                scores_BT.masked_fill_(~allowed[start:stop], -torch.inf)
            if leave_out is not None:
                leave_out.apply(scores_BT, start, stop)
            top = _top(scores_BT, min(k, stop - start))
            # what is there comes from lower rows and both are in order, so a stable sort keeps ties by lowest row
            scores_BM = torch.cat([scores_BK, top.scores_BK], dim=1)
            rows_BM = torch.cat([rows_BK, top.rows_BK + start], dim=1)
            scores_BM, order_BM = scores_BM.sort(dim=1, descending=True, stable=True)
            scores_BK, rows_BK = scores_BM[:, :k], rows_BM.gather(1, order_BM[:, :k])
        return SearchResult(rows_BK.masked_fill(scores_BK == -torch.inf, NO_ROW), scores_BK)


class _LeaveOut:
    """Excluded rows of a block of queries, in the order of the rows, so that each tile finds its own at once."""

    def __init__(self, excluded: Ragged) -> None:
        device = excluded.values.device
        query = torch.repeat_interleave(torch.arange(excluded.num_rows, device=device), excluded.lengths)
        self._rows, order = excluded.values.to(torch.int64).sort()
        self._queries = query[order]

    def apply(self, scores_BT: Tensor, start: int, stop: int) -> None:
        edges = torch.tensor([start, stop], device=self._rows.device)
        first, last = torch.searchsorted(self._rows, edges).tolist()
        scores_BT[self._queries[first:last], self._rows[first:last] - start] = -torch.inf


def _top(scores_BT: Tensor, k: int) -> SearchResult:
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


def _finite_float32(vectors: Tensor, what: str) -> Tensor:
    if not vectors.is_floating_point():
        raise ValueError(f"{what} must be floats (came: {vectors.dtype})")
    own = vectors.detach().to(torch.float32)
    bad = (~own.isfinite()).any(dim=1).nonzero()[:, 0]
    if len(bad):
        first = ", ".join(str(row) for row in bad[:5].tolist())
        raise DataError(f"{what} must be finite float32; {len(bad):,} of {len(own):,} are not, the first at row {first}")
    return own


def _check_excluded(excluded: Ragged, num_queries: int, num_vectors: int) -> None:
    values, offsets = excluded
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(f"excluded rows must be integers (came: {values.dtype})")
    if excluded.num_rows != num_queries:
        raise ValueError(f"excluded must have one row per query: {num_queries} (came: {excluded.num_rows})")
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(values) or bool((excluded.lengths < 0).any()):
        raise ValueError(f"the offsets of excluded must rise from 0 to {len(values)} (came: {offsets[0]} to {offsets[-1]})")
    outside = values[(values < 0) | (values >= num_vectors)]
    if len(outside):
        raise ValueError(f"excluded rows must be in [0, {num_vectors}) (came: {outside[:5].tolist()})")
