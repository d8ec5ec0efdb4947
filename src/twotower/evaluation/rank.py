"""The exact rank of every positive, in bounded memory, without top-k.

Knowing how many items score above a positive and how many tie with it is enough for recall, NDCG, MRR and MAP at any k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twotower.errors import TwotowerError
from twotower.evaluation.scorer import Scorer
from twotower.metrics import Ranks
from twotower.types import Ragged

__all__ = ["PositiveRanks", "rank_positives"]


@dataclass(frozen=True)
class PositiveRanks:
    """Ranks of the same positives, once with everything competing and once without what the user has seen."""

    seen_included: Ranks
    seen_removed: Ranks


def rank_positives(
    scorer: Scorer, rows: Tensor, positives: Ragged, seen: Ragged, *, block_bytes: int = 64 * 2**20
) -> PositiveRanks:
    """Count, for every positive, the items above it and those tied with it.

    A positive's score is taken from the same product as its rivals', so that an item never loses to itself by rounding.

    Args:
        scorer: Gives the scores.
        rows: int64 ``[Q]``, the queries: rows of the scorer's examples.
        positives: Catalogue rows of each query's positives; -1 is an item that the catalogue lacks, which ranks last.
        seen: Distinct catalogue rows that each query's user has seen; a query's own positive competes even if it was seen.
        block_bytes: Memory for scores at a time. When one query's scores exceed it, tiles are computed twice.

    Returns:
        Ranks of the positives end to end, in the order of ``positives.values``.

    Raises:
        TwotowerError: If a score is NaN.
    """
    num_items = scorer.num_items
    above, tied, above_seen, tied_seen = (np.zeros(len(positives.values), dtype=np.int64) for _ in range(4))
    lengths = positives.lengths
    longest = int(lengths.max()) if len(lengths) else 1
    block = max(1, min(2048, block_bytes // (4 * max(1, num_items) * max(1, longest))))
    tile_size = num_items if block > 1 else max(1, block_bytes // 4)
    for start in range(0, len(rows), block):
        stop = min(start + block, len(rows))
        queries = torch.arange(start, stop)
        chunk = slice(int(positives.offsets[start]), int(positives.offsets[stop]))
        counts = _count(scorer, rows[start:stop], positives.take(queries), seen.take(queries), tile_size)
        above[chunk], tied[chunk], above_seen[chunk], tied_seen[chunk] = counts
    missing = positives.values.numpy() < 0
    above[missing], tied[missing] = num_items, 1
    above_seen[missing], tied_seen[missing] = 0, 0
    return PositiveRanks(Ranks(above, tied), Ranks(above - above_seen, tied - tied_seen))


def _count(
    scorer: Scorer, rows: Tensor, positives: Ragged, seen: Ragged, tile_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Above and tied over the catalogue, and how many of those were seen (the positive itself not counted as seen)."""
    query_of = torch.repeat_interleave(torch.arange(len(rows)), positives.lengths)
    items = positives.values.long()
    single = tile_size >= scorer.num_items
    scores = torch.zeros(len(items), dtype=torch.float64)  # holds float32 scores exactly
    above, tied, above_seen, tied_seen = (torch.zeros(len(items), dtype=torch.int64) for _ in range(4))
    pairs = _seen_pairs(positives, seen)
    if not single:
        for first, tile_BT in scorer.tiles(rows, tile_size):
            _take_scores(scores, first, tile_BT, query_of, items)
    for first, tile_BT in scorer.tiles(rows, tile_size):
        if bool(torch.isnan(tile_BT).any()):
            raise TwotowerError(f"a score is not a number (items {first} and on): the model or the features hold NaN")
        if single:
            _take_scores(scores, first, tile_BT, query_of, items)
        if len(items) == len(rows) and bool((positives.lengths == 1).all()):
            expanded_PT = tile_BT
        else:
            expanded_PT = tile_BT[query_of.to(tile_BT.device)]
        own_P1 = scores.to(tile_BT).unsqueeze(1)
        above += (expanded_PT > own_P1).sum(1).cpu()
        tied += (expanded_PT == own_P1).sum(1).cpu()
        inside = (pairs[1] >= first) & (pairs[1] < first + tile_BT.shape[1])
        positive, item = pairs[0][inside], pairs[1][inside] - first
        seen_scores = tile_BT[query_of[positive].to(tile_BT.device), item.to(tile_BT.device)].double().cpu()
        above_seen.index_add_(0, positive, (seen_scores > scores[positive]).long())
        tied_seen.index_add_(0, positive, (seen_scores == scores[positive]).long())
    return above.numpy(), tied.numpy(), above_seen.numpy(), tied_seen.numpy()


def _take_scores(scores: Tensor, first: int, tile_BT: Tensor, query_of: Tensor, items: Tensor) -> None:
    inside = (items >= first) & (items < first + tile_BT.shape[1])
    scores[inside] = tile_BT[query_of[inside].to(tile_BT.device), (items[inside] - first).to(tile_BT.device)].double().cpu()


def _seen_pairs(positives: Ragged, seen: Ragged) -> tuple[Tensor, Tensor]:
    """Every (positive, seen item of its query) but the positive itself: positions and catalogue rows."""
    query_of = torch.repeat_interleave(torch.arange(positives.num_rows), positives.lengths)
    per_positive = seen.take(query_of)
    position = torch.repeat_interleave(torch.arange(len(query_of)), per_positive.lengths)
    items = per_positive.values.long()
    other = items != positives.values.long()[position]
    return position[other], items[other]
