"""Rankers that count what stands above a score without giving every score: the same ranks, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from twotower.types import Ragged

__all__ = ["BlockCountingScorer", "CountingScorer", "ListCounter", "ScoreCounter", "count_among", "count_positives"]

_SEEN_AT_ONCE = 2**20


class ScoreCounter(Protocol):
    """Counts for some queries; scores are those of the scorer's tiles, to the bit."""

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """The score of some pairs.

        Args:
            queries: int64 ``[P]``, positions among the counter's queries.
            items: int64 ``[P]``, catalogue rows.

        Returns:
            float32 or float64 ``[P]``, on the CPU.
        """
        ...

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Which pairs score more than, and which as much as, some scores.

        Args:
            queries: int64 ``[P]``, positions among the counter's queries; quickest where they do not fall.
            items: int64 ``[P]``, catalogue rows.
            scores: ``[P]``, from `pairs`.

        Returns:
            Two bool ``[P]``, on the CPU.
        """
        ...

    def count(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """How many items of the whole catalogue score more than, and as much as, some scores.

        Args:
            queries: int64 ``[P]``, positions among the counter's queries.
            scores: ``[P]``, to compare the query's scores with; from `pairs`.

        Returns:
            Two int64 ``[P]``.
        """
        ...


@runtime_checkable
class ListCounter(Protocol):
    """A `ScoreCounter` that can count among some items of each query without being given every pair."""

    def among(self, queries: Tensor, scores: Tensor, lists: Ragged) -> tuple[Tensor, Tensor] | None:
        """How many items of a query's list score more than, and as much as, some scores.

        Args:
            queries: int64 ``[P]``, positions among the counter's queries.
            scores: ``[P]``, to compare the query's scores with; from `ScoreCounter.pairs`.
            lists: Catalogue rows of each of the counter's queries.

        Returns:
            Two int64 ``[P]``; None where it can't be done, so that pairs are asked for.
        """
        ...


@runtime_checkable
class CountingScorer(Protocol):
    """A `twotower.evaluation.Scorer` that can do without its tiles."""

    def counter(self, rows: Tensor) -> ScoreCounter | None:
        """Count for some queries.

        Args:
            rows: int64 ``[B]``, rows of the examples; each is a query with its own context and history.

        Returns:
            None where it can't be done, so that the tiles are asked for.
        """
        ...


@runtime_checkable
class BlockCountingScorer(CountingScorer, Protocol):
    """A `CountingScorer` that is told beforehand what it will be asked."""

    def counters(self, blocks: Sequence[Tensor]) -> Iterator[ScoreCounter | None]:
        """What `counter` gives for each of some blocks of queries, in order, when it is asked for.

        Args:
            blocks: int64 ``[B]`` each, rows of the examples, at least one.
        """
        ...


def count_positives(
    counter: ScoreCounter, query_of: Tensor, items: Tensor, seen: Ragged
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Above and tied over the catalogue of every positive, and how many of those were seen.

    Args:
        counter: Of the queries.
        query_of: int64 ``[P]``, the query of each positive.
        items: int64 ``[P]``, catalogue rows; -1 for one that the catalogue lacks, whose counts mean nothing.
        seen: Catalogue rows that each query's user has seen, without the query's positives.

    Returns:
        Four int64 ``[P]``.
    """
    known = (items >= 0).nonzero().flatten()
    queries, counts = query_of[known], torch.zeros(4, len(items), dtype=torch.int64)
    scores = counter.pairs(queries, items[known])
    counts[0, known], counts[1, known] = counter.count(queries, scores)
    counts[2, known], counts[3, known] = count_among(counter, queries, scores, seen)
    return counts[0], counts[1], counts[2], counts[3]


def count_among(counter: ScoreCounter, queries: Tensor, scores: Tensor, lists: Ragged) -> tuple[Tensor, Tensor]:
    """As `ListCounter.among`, of any counter."""
    found = counter.among(queries, scores, lists) if isinstance(counter, ListCounter) else None
    if found is not None:
        return found
    counts = torch.zeros(2, len(queries), dtype=torch.int64)
    for part in _parts(lists.lengths[queries]):
        rivals = lists.take(queries[part])  # of each positive, so that many positives of one query ask for its items again
        position = torch.repeat_interleave(torch.arange(part.start, part.start + rivals.num_rows), rivals.lengths)
        beaten = counter.versus(queries[position], rivals.values.long(), scores[position])
        for place, beats in enumerate(beaten):
            counts[place, part] = torch.bincount(position[beats] - part.start, minlength=rivals.num_rows)
    return counts[0], counts[1]


def _parts(lengths: Tensor) -> Iterator[slice]:
    """Positives one after the other whose seen items together are few enough to be scored at once; at least one each."""
    ends = lengths.cumsum(0)
    start, before = 0, 0
    while start < len(lengths):
        stop = max(start + 1, int(torch.searchsorted(ends, before + _SEEN_AT_ONCE, right=True)))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])
