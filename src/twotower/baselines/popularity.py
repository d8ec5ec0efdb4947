"""The same list for everybody: items by how often they occur in train."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from twotower.baselines.shared_counter import SharedCounter

__all__ = ["PopularityScorer"]


class PopularityScorer:
    """Scores every item by its count; items of equal count are ties.

    Args:
        counts_N: Interactions of each catalogue row in train, integers ``[N]``, 0 for an item that has none.

    Raises:
        ValueError: If the counts are not a vector, or one is negative.

    Example:
        >>> scorer = PopularityScorer(torch.tensor([3, 0, 5]))
        >>> [(first, scores_BT.tolist()) for first, scores_BT in scorer.tiles(torch.tensor([4]), 2)]
        [(0, [[3.0, 0.0]]), (2, [[5.0]])]
    """

    def __init__(self, counts_N: Tensor) -> None:
        if counts_N.ndim != 1 or bool((counts_N < 0).any()):
            least = counts_N.min().item() if counts_N.numel() else "none"
            raise ValueError(f"counts must have the shape [N], none negative; came {list(counts_N.shape)}, the least {least}")
        self.scores_N = counts_N.to(torch.float64)  # float32 would merge counts from 2**24 on

    def counter(self, rows: Tensor) -> SharedCounter:
        """See `twotower.evaluation.CountingScorer`."""
        del rows  # the same for everybody
        return SharedCounter(self.scores_N, self._sorted_N)

    @cached_property
    def _sorted_N(self) -> Tensor:  # noqa: N802 - the shape of what it holds
        return self.scores_N.sort().values

    @property
    def num_items(self) -> int:
        return int(self.scores_N.shape[0])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are float64, one row that every query shares."""
        for start in range(0, self.num_items, tile_size):
            yield start, self.scores_N[start : start + tile_size].expand(len(rows), -1)
