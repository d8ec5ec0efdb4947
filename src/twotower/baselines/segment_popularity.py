"""Popularity among users like this one: within the value of a column of the query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from twotower.baselines.fit_rows import FitRows
from twotower.baselines.shared_counter import count_sorted
from twotower.types import Ragged, gather_slices

__all__ = ["SegmentCounts", "SegmentPopularityScorer", "fit_segment_popularity"]


@dataclass(frozen=True)
class SegmentCounts:
    """How often each item occurs in each segment, and overall; only counts above 0 are stored.

    Attributes:
        items: ``[S]`` rows: the items of each segment, ascending.
        counts: float64 ``[total]``, beside ``items.values``.
        overall_N: float64 ``[N]``, counts over all rows, those without a segment included.
    """

    items: Ragged
    counts: Tensor
    overall_N: Tensor


def fit_segment_popularity(rows: FitRows, segments: Tensor, *, num_segments: int) -> SegmentCounts:
    """Count the items of each segment.

    Args:
        rows: What to fit on.
        segments: int64 or int32 ``[n]``, the segment of each row, in [0, num_segments); -1 where it has none (a missing value).
        num_segments: S; a segment need not have a row.

    Raises:
        ValueError: If there is not one segment per row, or one is out of range.
    """
    if segments.shape != rows.item_rows.shape:
        raise ValueError(f"segments must be {list(rows.item_rows.shape)}, one per row; came {list(segments.shape)}")
    if len(segments) and not -1 <= int(segments.min()) <= int(segments.max()) < num_segments:
        came = f"{int(segments.min())} to {int(segments.max())}"
        raise ValueError(f"segments must be in [0, {num_segments}), or -1 for none; came {came}")
    known = segments >= 0
    pairs, counts = torch.unique(segments[known].long() * rows.num_items + rows.item_rows[known], return_counts=True)
    offsets = torch.zeros(num_segments + 1, dtype=torch.int64)
    offsets[1:] = torch.bincount(pairs // rows.num_items, minlength=num_segments).cumsum(0)
    return SegmentCounts(Ragged(pairs % rows.num_items, offsets), counts.double(), rows.counts().double())


class SegmentPopularityScorer:
    """Scores an item by its count within the query's segment, smoothed by its share of all rows.

    ``score = count in the segment + strength * overall count / all rows``: Dirichlet smoothing (Zhai and Lafferty, 2004, A
    Study of Smoothing Methods for Language Models, section 3) without the denominator, which is the same for all items of a
    segment. Items that a segment has equally often, none of them included, are so told apart by overall popularity, and a
    segment that fit never saw, or a missing value, is scored by overall popularity.

    Args:
        state: From `fit_segment_popularity`.
        segments: int64 ``[n]``, the segment of each row of the examples that will be asked for; -1 for none.
        strength: How many rows' worth of overall popularity is mixed in, above 0.

    Raises:
        ValueError: If the strength is not above 0.
    """

    def __init__(self, state: SegmentCounts, segments: Tensor, *, strength: float) -> None:
        if not strength > 0:
            raise ValueError(f"strength must be above 0, or ties are not backed off; came {strength}")
        self.state = state
        self.segments = segments
        self._of_segment: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        self.shares_N = strength * (state.overall_N / state.overall_N.sum().clamp(min=1))

    def counter(self, rows: Tensor) -> SegmentCounter:
        """See `twotower.evaluation.CountingScorer`."""
        return SegmentCounter(self, self.segments[rows])

    @cached_property
    def sorted_shares_N(self) -> Tensor:  # noqa: N802 - the shape of what it holds
        """What every item has in every segment, ascending."""
        return self.shares_N.sort().values

    def of_segment(self, segment: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The items of a segment, ascending; their scores there; these ascending; and ascending what they have everywhere."""
        if segment not in self._of_segment:
            part = slice(int(self.state.items.offsets[segment]), int(self.state.items.offsets[segment + 1]))
            items = self.state.items.values[part]
            everywhere = self.shares_N[items]
            scores = self.state.counts[part] + everywhere
            self._of_segment[segment] = (items, scores, scores.sort().values, everywhere.sort().values)
        return self._of_segment[segment]

    @property
    def num_items(self) -> int:
        return int(self.shares_N.shape[0])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are float64."""
        segments, which = torch.unique(self.segments[rows], return_inverse=True)
        known = (segments >= 0).nonzero().squeeze(1)
        starts = self.state.items.offsets[segments[known]]
        lengths = self.state.items.offsets[segments[known] + 1] - starts
        items = gather_slices(self.state.items.values, starts, lengths).values
        counts = gather_slices(self.state.counts, starts, lengths).values
        segment = torch.repeat_interleave(known, lengths)
        for start in range(0, self.num_items, tile_size):
            shares_T = self.shares_N[start : start + tile_size]
            scores_ST = torch.zeros(len(segments), len(shares_T), dtype=torch.float64)
            inside = (items >= start) & (items < start + len(shares_T))
            scores_ST[segment[inside], items[inside] - start] = counts[inside]
            yield start, (scores_ST + shares_T)[which]


class SegmentCounter:
    """A `twotower.evaluation.ScoreCounter`: items that a segment lacks are counted in one order that all segments share.

    Args:
        scorer: Has the counts.
        segments: int64 ``[B]``, the segment of each query; -1 for none.
    """

    def __init__(self, scorer: SegmentPopularityScorer, segments: Tensor) -> None:
        self.scorer = scorer
        self.segments = segments

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """See `twotower.evaluation.ScoreCounter`."""
        scores = self.scorer.shares_N[items]
        for segment, asked in self._by_segment(queries):
            known, scores_of_known, _, _ = self.scorer.of_segment(segment)
            place = torch.searchsorted(known, items[asked]).clamp_(max=len(known) - 1)
            found = known[place] == items[asked]
            scores[asked[found]] = scores_of_known[place[found]]
        return scores

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.ScoreCounter`."""
        found = self.pairs(queries, items)
        return found > scores, found == scores

    def count(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.ScoreCounter`."""
        above, tied = count_sorted(self.scorer.sorted_shares_N, scores)
        for segment, asked in self._by_segment(queries):
            _, _, ascending, everywhere = self.scorer.of_segment(segment)
            # its own items count with their scores there, in place of what they have everywhere
            for ranked, sign in ((ascending, 1), (everywhere, -1)):
                more, same = count_sorted(ranked, scores[asked])
                above[asked] += sign * more
                tied[asked] += sign * same
        return above, tied

    def _by_segment(self, queries: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each segment with items, and the positions that ask for it."""
        order = self.segments[queries].argsort(stable=True)
        distinct, counts = torch.unique_consecutive(self.segments[queries][order], return_counts=True)
        for segment, positions in zip(distinct.tolist(), torch.split(order, counts.tolist()), strict=True):
            if segment >= 0 and len(self.scorer.of_segment(segment)[0]):
                yield segment, positions
