"""Rankers that know of a user nothing but the items in the history: each query is folded in from its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from twotower.data import Examples
from twotower.types import Ragged

__all__ = ["FoldInScorer"]


class FoldInScorer:
    """Scores items for what each row's user had seen when the row is judged; a row without any by popularity.

    The history of a row is ``examples.seen(rows)``: where histories grow, what came before the row, otherwise the user's fit
    rows; distinct items, in the order in which the user met them. Scores are rounded to float32, so that items whose scores
    differ only by the order of a sum are ties. They are of one history, and no two rows are compared; a history of no item
    has no scores to round, and takes the counts as they are.

    Args:
        fold: Given the distinct seen items of B queries, float64 ``[B, N]``.
        counts_N: Interactions of each item, for the rows without a history: integers ``[N]``.
        examples: Those whose rows will be asked for.
    """

    def __init__(self, fold: Callable[[Ragged], Tensor], counts_N: Tensor, examples: Examples) -> None:
        self.fold = fold
        self.counts_N = counts_N.to(torch.float64)
        self.examples = examples

    @property
    def num_items(self) -> int:
        return int(self.counts_N.shape[0])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; float64. All ``[B, N]`` scores are made at once, whatever the tile."""
        users, before = self.examples.user_rows[rows], self.examples.before[rows]
        ends = before if self.examples.seen_before else torch.zeros_like(before)
        # rows of one user at one moment have one history
        _, which = torch.unique(torch.stack([users, ends], dim=1), dim=0, return_inverse=True)
        one_of = torch.empty(int(which.max()) + 1 if len(which) else 0, dtype=torch.int64)
        one_of[which] = torch.arange(len(which))
        seen = self.examples.seen(rows[one_of])
        scores_BN = self.fold(seen).to(torch.float32).to(torch.float64)
        scores_BN[seen.lengths == 0] = self.counts_N
        for start in range(0, self.num_items, tile_size):
            yield start, scores_BN[which, start : start + tile_size]
