"""Rankers that know of a user nothing but the items in the history: each query is folded in from its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from twotower.data import Examples
from twotower.types import Ragged, gather_slices

__all__ = ["FoldInScorer"]

_KEPT_BYTES = 256 * 2**20
"""So much memory for the scores of users whose histories do not grow; with more users each row's are made anew."""


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
        additive: Whether the scores of a history are the sum of those of its items. Where histories grow, what a user's later
            row has seen besides is then added to the scores of the one before, and not folded in from the start.
    """

    def __init__(
        self, fold: Callable[[Ragged], Tensor], counts_N: Tensor, examples: Examples, *, additive: bool = False
    ) -> None:
        self.fold = fold
        self.additive = additive
        self.counts_N = counts_N.to(torch.float64)
        self.examples = examples
        self.kept = _KeptScores.of(examples.histories.num_users, self.num_items) if not examples.seen_before else None

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
        lengths = self.examples.seen(rows[one_of]).lengths
        scores_BN = self._scores(users[one_of], rows[one_of]).to(torch.float64)
        scores_BN[lengths == 0] = self.counts_N
        for start in range(0, self.num_items, tile_size):
            yield start, scores_BN[which, start : start + tile_size]

    def _scores(self, users: Tensor, rows: Tensor) -> Tensor:
        """Scores of distinct histories, rounded to float32; those of a user whose history does not grow are made once."""
        if self.kept is None:
            seen = self.examples.seen(rows)
            return (self._added(users, seen) if self.additive else self.fold(seen)).to(torch.float32)
        new = ~self.kept.known_U[users]
        if bool(new.any()):
            self.kept.scores_UN[users[new]] = self.fold(self.examples.seen(rows[new])).to(torch.float32)
            self.kept.known_U[users[new]] = True
        return self.kept.scores_UN[users]

    def _added(self, users: Tensor, seen: Ragged) -> Tensor:
        """Scores of histories that are sorted by user and length: each is what the user's history before it was, and more."""
        first = torch.ones(len(users), dtype=torch.bool)
        first[1:] = users[1:] != users[:-1]
        known = torch.zeros(len(users), dtype=torch.int64)
        known[1:] = seen.lengths[:-1]
        known[first] = 0
        scores_BN = self.fold(gather_slices(seen.values, seen.offsets[:-1] + known, seen.lengths - known))
        starts = first.nonzero().squeeze(1).tolist()
        for start, stop in pairwise([*starts, len(users)]):
            if stop - start > 1:
                scores_BN[start:stop] = scores_BN[start:stop].cumsum(0)
        return scores_BN


class _KeptScores(NamedTuple):
    """Scores of all users, float32 ``[U, N]``, and whose are there, bool ``[U]``."""

    scores_UN: Tensor
    known_U: Tensor

    @classmethod
    def of(cls, num_users: int, num_items: int) -> _KeptScores | None:
        """None where they would take too much memory."""
        if 4 * num_users * num_items > _KEPT_BYTES:
            return None
        return cls(torch.empty(num_users, num_items), torch.zeros(num_users, dtype=torch.bool))
