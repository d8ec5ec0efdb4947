"""Counting above a score where every query has the same scores: they are sorted once."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SharedCounter", "count_sorted"]


def count_sorted(ascending: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """How many of some sorted numbers are more than, and as much as, each score.

    Args:
        ascending: ``[N]``.
        scores: ``[P]``, of the same type.

    Returns:
        Two int64 ``[P]``.

    Example:
        >>> above, tied = count_sorted(torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([2.0, 7.0]))
        >>> above.tolist(), tied.tolist()
        ([1, 0], [2, 0])
    """
    right = torch.searchsorted(ascending, scores, right=True)
    return len(ascending) - right, right - torch.searchsorted(ascending, scores)


class SharedCounter:
    """A `twotower.evaluation.ScoreCounter` of scores that do not depend on the query.

    Args:
        scores_N: One per item.
        sorted_N: The same, ascending.
    """

    def __init__(self, scores_N: Tensor, sorted_N: Tensor) -> None:
        self.scores_N = scores_N
        self.sorted_N = sorted_N

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """See `twotower.evaluation.ScoreCounter`."""
        del queries
        return self.scores_N[items]

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.ScoreCounter`."""
        found = self.pairs(queries, items)
        return found > scores, found == scores

    def count(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.ScoreCounter`."""
        del queries
        return count_sorted(self.sorted_N, scores)
