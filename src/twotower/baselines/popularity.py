"""The same list for everybody: items by how often they occur in train."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

__all__ = ["PopularityScorer"]


class PopularityScorer:
    """Scores every item by its count; items of equal count are ties.

    Args:
        counts_N: Interactions of each catalogue row in train, integers ``[N]``.
    """

    def __init__(self, counts_N: Tensor) -> None:
        self.scores_N = counts_N.double()  # float32 would merge counts from 2**24 on

    @property
    def num_items(self) -> int:
        return int(self.scores_N.shape[0])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, self.num_items, tile_size):
            yield start, self.scores_N[start : start + tile_size].expand(len(rows), -1)
