"""Who interacted with what, as a graph between the rows of two embedding tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["InteractionGraph", "Neighbours"]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What each row of one table is joined to in the other.

    Attributes:
        rows: int32 ``[num_edges]``, neighbours of all rows one after the other, each row's ascending.
        offsets: int64 ``[num_rows + 1]``: where each row's neighbours start, and the end.
        scale: float64 ``[num_rows]``: 1 / sqrt(number of neighbours), 0 for a row without any.
    """

    rows: Tensor
    offsets: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def to(self, device: torch.device, dtype: torch.dtype) -> Neighbours:
        """On a device, ``scale`` in the dtype of the tables."""
        return Neighbours(self.rows.to(device), self.offsets.to(device), self.scale.to(dtype).to(device))


@dataclass(frozen=True, slots=True)
class InteractionGraph:
    """A graph between the rows of a query table and those of a candidate table, held from both sides.

    Attributes:
        queries: Of each query row, its candidates.
        candidates: Of each candidate row, its queries.

    Example:
        >>> graph = InteractionGraph.from_pairs(np.array([1, 1, 1]), np.array([2, 1, 2]), num_queries=2, num_candidates=3)
        >>> graph.num_edges, graph.queries.rows.tolist(), graph.candidates.offsets.tolist()
        (2, [1, 2], [0, 0, 1, 2])
    """

    queries: Neighbours
    candidates: Neighbours

    @classmethod
    def from_pairs(
        cls, query_rows: NDArray[np.integer], candidate_rows: NDArray[np.integer], *, num_queries: int, num_candidates: int
    ) -> InteractionGraph:
        """Join every distinct pair by one edge. Row 0 of either table stands for whatever is unknown, and has none.

        Args:
            query_rows: Integers in ``[0, num_queries)``, ``[n]``.
            candidate_rows: Integers in ``[0, num_candidates)``, ``[n]``.
            num_queries: Rows of the query table.
            num_candidates: Rows of the candidate table.

        Raises:
            ValueError: If the two are of different lengths, or a row is out of range.
        """
        if query_rows.shape != candidate_rows.shape or query_rows.ndim != 1:
            raise ValueError(f"pairs need as many queries as candidates; came {query_rows.shape} and {candidate_rows.shape}")
        for name, rows, size in (("query", query_rows, num_queries), ("candidate", candidate_rows, num_candidates)):
            if len(rows) and not 0 <= rows.min() <= rows.max() < size:
                raise ValueError(f"{name} rows must be in [0, {size}); came {rows.min()} to {rows.max()}")
        known = (query_rows > 0) & (candidate_rows > 0)
        pairs = np.unique(query_rows[known].astype(np.int64) * num_candidates + candidate_rows[known])
        queries, candidates = np.divmod(pairs, num_candidates)
        by_candidate = np.argsort(candidates, kind="stable")
        return cls(
            _neighbours(queries, candidates, num_queries),
            _neighbours(candidates[by_candidate], queries[by_candidate], num_candidates),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> InteractionGraph:
        """On a device, scales in the dtype of the tables."""
        return InteractionGraph(self.queries.to(device, dtype), self.candidates.to(device, dtype))

    @property
    def num_edges(self) -> int:
        """Distinct pairs."""
        return len(self.queries.rows)


def _neighbours(rows: NDArray[np.int64], others: NDArray[np.int64], size: int) -> Neighbours:
    degrees = np.bincount(rows, minlength=size)
    offsets = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(degrees, out=offsets[1:])
    scale = np.where(degrees > 0, 1 / np.sqrt(np.maximum(degrees, 1)), 0.0)
    return Neighbours(torch.from_numpy(others.astype(np.int32)), torch.from_numpy(offsets), torch.from_numpy(scale))
