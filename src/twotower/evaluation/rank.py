"""The exact rank of every positive, in bounded memory, without top-k.

Knowing how many items score above a positive and how many tie with it is enough for recall, NDCG, MRR and MAP at any k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from twotower.evaluation.counting import BlockCountingScorer, CountingScorer, ScoreCounter, count_positives
from twotower.evaluation.scorer import Scorer
from twotower.evaluation.tiles import checked_tiles
from twotower.metrics import Ranks
from twotower.types import Ragged

__all__ = ["PositiveRanks", "rank_positives"]

_BYTES_PER_SCORE = 8
"""A float32 score, its share of the comparisons, and room for a scorer that counts in float64."""

_MOST_QUERIES = 2048

_COUNTED_IN_FLOAT32 = 2**24
"""Up to here every whole number is a float32."""


@dataclass(frozen=True)
class PositiveRanks:
    """Ranks of the same positives, once with everything competing and once without what the user has seen."""

    seen_included: Ranks
    seen_removed: Ranks


def rank_positives(
    scorer: Scorer,
    rows: Tensor,
    positives: Ragged,
    seen: Callable[[Tensor], Ragged],
    *,
    block_bytes: int = 64 * 2**20,
) -> PositiveRanks:
    """Count, for every positive, the items above it and those tied with it.

    A positive's score is taken from the same product as its rivals', so that an item never loses to itself by rounding.

    Args:
        scorer: Gives the scores.
        rows: int64 ``[Q]``, the queries: rows of the scorer's examples.
        positives: Catalogue rows of each query's positives, distinct within a query; -1 is an item that the catalogue lacks,
            which ranks behind all of it (as `Ranks.unranked` has it).
        seen: Given some of ``rows``, the distinct catalogue rows that each one's user has seen; asked for a block at a time.
            They do not compete in ``seen_removed``, except the query's own positives, which always do.
        block_bytes: Memory for scores at a time, counted with 8 bytes each. Where one query's scores exceed it, the
            catalogue is taken in tiles, and scored twice. A `CountingScorer` needs neither.

    Returns:
        Ranks of the positives end to end, in the order of ``positives.values``.

    Raises:
        DataError: If a score is NaN.
        ValueError: If shapes do not fit, a positive is outside of the catalogue, or the scorer's tiles do not cover it.
    """
    num_items, num_positives = scorer.num_items, len(positives.values)
    if positives.num_rows != len(rows):
        raise ValueError(f"positives must have one entry per query; came {positives.num_rows} for {len(rows)} queries")
    if num_positives and not -1 <= int(positives.values.min()) <= int(positives.values.max()) < num_items:
        came = f"{int(positives.values.min())} to {int(positives.values.max())}"
        raise ValueError(f"positives must be rows of the catalogue, in [0, {num_items}), or -1 (came: {came})")
    at_once = max(1, block_bytes // _BYTES_PER_SCORE)
    counts = isinstance(scorer, CountingScorer)
    block = _MOST_QUERIES if counts else max(1, min(_MOST_QUERIES, at_once // max(1, num_items)))
    tile_size = max(1, min(num_items, at_once // block))
    above, tied, above_seen, tied_seen = (np.zeros(num_positives, dtype=np.int64) for _ in range(4))
    blocks = [rows[start : start + block] for start in range(0, len(rows), block)]
    for start, asked, counter in zip(range(0, len(rows), block), blocks, _counters(scorer, blocks), strict=False):
        queries = torch.arange(start, min(start + block, len(rows)))
        mine = positives.take(queries)
        chunk = slice(int(positives.offsets[start]), int(positives.offsets[start + len(queries)]))
        counted = _Block(scorer, asked, mine, seen(asked), tile_size, at_once).count(counter)
        above[chunk], tied[chunk], above_seen[chunk], tied_seen[chunk] = counted
    missing = positives.values.numpy() < 0
    above[missing], tied[missing], above_seen[missing], tied_seen[missing] = num_items, 1, 0, 0
    return PositiveRanks(Ranks(above, tied), Ranks(above - above_seen, tied - tied_seen))


def _counters(scorer: Scorer, blocks: Sequence[Tensor]) -> Iterator[ScoreCounter | None]:
    """Of each block; None where its tiles are asked for."""
    if isinstance(scorer, BlockCountingScorer):
        return scorer.counters(blocks)
    return map(scorer.counter, blocks) if isinstance(scorer, CountingScorer) else repeat(None)


class _Block:
    """Some queries, their positives end to end, and what was counted of them so far."""

    def __init__(self, scorer: Scorer, rows: Tensor, positives: Ragged, seen: Ragged, tile_size: int, at_once: int) -> None:
        self.scorer = scorer
        self.rows = rows
        self.items = positives.values.long()
        self.query_of = torch.repeat_interleave(torch.arange(len(rows)), positives.lengths)
        self.one_each = bool((positives.lengths == 1).all())
        self.seen = _without_positives(seen, self.query_of, self.items, scorer.num_items, one_each=self.one_each)
        self.tile_size = tile_size
        self.positives_at_once = max(1, at_once // tile_size)
        self.scores = torch.zeros(len(self.items), dtype=torch.float64)  # holds float32 scores exactly
        self.above, self.tied, self.above_seen, self.tied_seen = (
            torch.zeros(len(self.items), dtype=torch.int64) for _ in range(4)
        )

    def count(self, counter: ScoreCounter | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Above and tied over the catalogue, and how many of those were seen; by tiles where nothing can count."""
        if counter is not None:
            above, tied, above_seen, tied_seen = count_positives(counter, self.query_of, self.items, self.seen)
            return above.numpy(), tied.numpy(), above_seen.numpy(), tied_seen.numpy()
        whole = self.tile_size >= self.scorer.num_items
        if not whole:  # a positive is compared with tiles that come before its own, so its score must be known first
            for first, tile_BT in self._tiles():
                self._take_scores(first, tile_BT)
        for first, tile_BT in self._tiles():
            if whole:
                self._take_scores(first, tile_BT)
            for start in range(0, len(self.items), self.positives_at_once):
                self._compare(torch.arange(start, min(start + self.positives_at_once, len(self.items))), first, tile_BT)
        return self.above.numpy(), self.tied.numpy(), self.above_seen.numpy(), self.tied_seen.numpy()

    def _tiles(self) -> Iterator[tuple[int, Tensor]]:
        return checked_tiles(self.scorer, self.rows, self.tile_size)

    def _take_scores(self, first: int, tile_BT: Tensor) -> None:
        inside = (self.items >= first) & (self.items < first + tile_BT.shape[1])
        queries, columns = self.query_of[inside], self.items[inside] - first
        self.scores[inside] = tile_BT[queries.to(tile_BT.device), columns.to(tile_BT.device)].double().cpu()

    def _compare(self, part: Tensor, first: int, tile_BT: Tensor) -> None:
        """Count what the tile has above and beside some positives (positions, ascending)."""
        device = tile_BT.device
        rivals_PT = tile_BT if self.one_each else tile_BT[self.query_of[part].to(device)]
        own_P1 = self.scores[part].to(tile_BT).unsqueeze(1)
        self.above[part] += _count(torch.gt, rivals_PT, own_P1)
        self.tied[part] += _count(torch.eq, rivals_PT, own_P1)
        seen = self.seen.take(self.query_of[part])
        position = torch.repeat_interleave(part, seen.lengths)
        item = seen.values.long()
        inside = (item >= first) & (item < first + tile_BT.shape[1])
        position, column = position[inside], item[inside] - first
        scores = tile_BT[self.query_of[position].to(device), column.to(device)].double().cpu()
        self.above_seen.index_add_(0, position, (scores > self.scores[position]).long())
        self.tied_seen.index_add_(0, position, (scores == self.scores[position]).long())


def _count(compare: Callable[..., Tensor], rivals_PT: Tensor, own_P1: Tensor) -> Tensor:
    """How many of each row's rivals compare so, int64 ``[P]``; floats of 1 and 0 add up three times as fast as bools."""
    if rivals_PT.shape[1] >= _COUNTED_IN_FLOAT32:
        return compare(rivals_PT, own_P1).sum(1).cpu()
    ones_PT = torch.empty(rivals_PT.shape, dtype=torch.float32, device=rivals_PT.device)
    return compare(rivals_PT, own_P1, out=ones_PT).sum(1).long().cpu()


def _without_positives(seen: Ragged, query_of: Tensor, items: Tensor, num_items: int, *, one_each: bool) -> Ragged:
    """What each query's user has seen, but for the query's positives (``items``, of the queries ``query_of``)."""
    if one_each:
        return seen.without(items)
    seen_by = torch.repeat_interleave(torch.arange(seen.num_rows), seen.lengths)
    known = items >= 0
    own = query_of[known] * num_items + items[known]
    return seen.keep(~torch.isin(seen_by * num_items + seen.values.long(), own))
