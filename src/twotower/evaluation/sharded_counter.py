"""Counting over ranks: each counts in its range of the catalogue, and the counts are added."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.distributed import Ranks
from twotower.evaluation.counting import ScoreCounter, count_among
from twotower.types import Ragged

__all__ = ["ShardedCounter"]


class ShardedCounter:
    """The counts of a whole catalogue, of which this rank has a range.

    A positive's score comes from the rank that has the item, and is compared with everybody's products as it is; so it
    neither wins nor loses by where it lies. Every method is called by all ranks, with the same arguments.

    Args:
        counter: Counts in the range, whose first item it calls 0; None where the range is empty.
        own: The range.
        ranks: All of them.
    """

    def __init__(self, counter: ScoreCounter | None, own: range, ranks: Ranks) -> None:
        self._counter = counter
        self._own = own
        self._ranks = ranks

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """See `twotower.evaluation.counting.ScoreCounter`."""
        scores, mine = torch.zeros(len(queries)), self._inside(items)
        if self._counter is not None:
            scores[mine] = self._counter.pairs(queries[mine], items[mine] - self._own.start).to(scores.dtype)
        return self._summed(scores)  # zeros and one number

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.counting.ScoreCounter`."""
        found, mine = torch.zeros(2, len(queries), dtype=torch.uint8), self._inside(items)
        if self._counter is not None:
            beaten = self._counter.versus(queries[mine], items[mine] - self._own.start, scores[mine])
            found[:, mine] = torch.stack(beaten).to(torch.uint8)
        above, tied = self._summed(found).bool()
        return above, tied

    def count(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.counting.ScoreCounter`."""
        found = torch.zeros(2, len(queries), dtype=torch.int64)
        if self._counter is not None:
            found[0], found[1] = self._counter.count(queries, scores)
        above, tied = self._summed(found)
        return above, tied

    def among(self, queries: Tensor, scores: Tensor, lists: Ragged) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.counting.ListCounter`."""
        found = torch.zeros(2, len(queries), dtype=torch.int64)
        if self._counter is not None:
            mine = lists.keep(self._inside(lists.values))
            mine = mine._replace(values=mine.values - self._own.start)
            found[0], found[1] = count_among(self._counter, queries, scores, mine)
        above, tied = self._summed(found)
        return above, tied

    def _inside(self, items: Tensor) -> Tensor:
        return (items >= self._own.start) & (items < self._own.stop)

    def _summed(self, found: Tensor) -> Tensor:
        return self._ranks.sum_(found) if found.numel() else found
