"""The best items of every query, exactly and in bounded memory, from the same scores that ranks are counted in."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor

from twotower.distributed import agreed, columns_of_all, share_sizes
from twotower.evaluation.scorer import Scorer, SharedOutScorer
from twotower.evaluation.tiles import checked_tiles
from twotower.types import Ragged

__all__ = ["top_items"]

_BYTES_PER_SCORE = 48
"""A score, its key, key and item beside the best so far, a running count, and masks."""

_MOST_QUERIES = 2048

_REMOVED = torch.iinfo(torch.int64).min
"""Below the key of every score, minus infinity included: an item with that score still competes, a removed one does not."""


def top_items(
    scorer: Scorer,
    rows: Tensor,
    k: int,
    *,
    seen: Callable[[Tensor], Ragged] | None = None,
    block_bytes: int = 64 * 2**20,
) -> Tensor:
    """Find the ``k`` items with the highest scores, of each query: score descending, then catalogue row ascending.

    Items of equal score come lowest catalogue row first, so that a list is one list. Where ties matter, ranks tell more
    (`rank_positives`): they take the expectation over all the lists that the scores allow. They also let a row's own item
    compete when its user had seen it before, which a list with seen items removed can't hold: counting hits in such lists
    gives a little less.

    Args:
        scorer: Gives the scores.
        rows: int64 ``[Q]``, the queries: rows of the scorer's examples.
        k: At least 1; may exceed the catalogue.
        seen: Given some of ``rows``, the catalogue rows that each one's user has seen, in any order: they are left out. Asked
            for a block at a time. None: nothing is left out.
        block_bytes: Memory for scores at a time, counted with 48 bytes each. Where one query's scores exceed it, the catalogue
            is taken in tiles. The answer does not depend on it.

    Returns:
        int64 ``[Q, K]`` on the CPU, K = ``k``: catalogue rows, best first, and -1 where fewer than ``k`` are left.

    Raises:
        DataError: If a score is NaN.
        ValueError: If ``k`` is below 1, what was seen does not fit, or the scorer's tiles do not cover the catalogue.

    Example:
        >>> from twotower.baselines import PopularityScorer
        >>> popularity, nobody = PopularityScorer(torch.tensor([3, 5, 3, 9])), torch.tensor([0])
        >>> top_items(popularity, nobody, 3).tolist()
        [[3, 1, 0]]
        >>> top_items(popularity, nobody, 3, seen=lambda rows: Ragged(torch.tensor([1, 3]), torch.tensor([0, 2]))).tolist()
        [[0, 2, -1]]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; came {k}")
    at_once = max(1, block_bytes // _BYTES_PER_SCORE)
    block = max(1, min(_MOST_QUERIES, at_once // max(1, scorer.num_items)))
    tile_size = max(1, min(scorer.num_items, at_once))
    items_QK = torch.full((len(rows), k), -1, dtype=torch.int64)
    blocks = [rows[start : start + block] for start in range(0, len(rows), block)]
    shared = scorer if isinstance(scorer, SharedOutScorer) else None
    scorers = repeat(scorer) if shared is None else shared.own_scores(blocks)
    for start, queries, of_block in zip(range(0, len(rows), block), blocks, scorers, strict=False):
        removed = None if seen is None else _checked_seen(seen(queries), len(queries), scorer.num_items)
        if shared is None:
            items_BK, keys_BK = _best_of_block(of_block, queries, k, removed, tile_size)
        else:
            items_BK, keys_BK = _best_of_ranks(of_block, queries, k, removed, tile_size, shared)
        items_QK[start : start + len(queries), : items_BK.shape[1]] = items_BK.masked_fill(keys_BK == _REMOVED, -1).cpu()
    return items_QK


def _best_of_ranks(
    own: Scorer, queries: Tensor, k: int, removed: Ragged | None, tile_size: int, shared: SharedOutScorer
) -> tuple[Tensor, Tensor]:
    """As `_best_of_block`: each rank's best, merged a share of the queries by each rank."""
    ranks = shared.ranks
    best_BK = agreed(ranks, lambda: _best_of_block(own, queries, k, removed, tile_size, shared.own.start))
    width = min(k, shared.num_items)
    both_B2K = torch.stack([_widened(best_BK[0], width, -1), _widened(best_BK[1], width, _REMOVED)], dim=1)
    # ranges follow one another, and so do the columns: what ties still stands in the order of catalogue rows
    every_bM = columns_of_all(ranks, both_B2K.flatten(1))
    items_bM, keys_bM = every_bM.view(-1, ranks.size, 2, width).transpose(1, 2).flatten(2).unbind(dim=1)
    columns_bK = _best_columns(keys_bM, width)
    both_bK2 = torch.stack([each.gather(1, columns_bK) for each in (items_bM, keys_bM)], dim=2)
    items_BK, keys_BK = ranks.gather(both_bK2, share_sizes(len(queries), ranks.size)).unbind(dim=2)
    return items_BK, keys_BK


def _widened(columns_BK: Tensor, width: int, filler: int) -> Tensor:
    wide_BM = columns_BK.new_full((len(columns_BK), width), filler)
    wide_BM[:, : columns_BK.shape[1]] = columns_BK
    return wide_BM


def _best_of_block(
    scorer: Scorer, queries: Tensor, k: int, removed: Ragged | None, tile_size: int, start: int = 0
) -> tuple[Tensor, Tensor]:
    """Items and keys, int64 ``[B, min(k, N)]``; of what was removed the key says so. Catalogue rows begin at ``start``."""
    removed_query = None if removed is None else torch.repeat_interleave(torch.arange(len(queries)), removed.lengths)
    items_BK = keys_BK = torch.empty((len(queries), 0), dtype=torch.int64)
    for first, tile_BT in checked_tiles(scorer, queries, tile_size, start):
        keys_BT, device = _keys(tile_BT), tile_BT.device
        if removed is not None and removed_query is not None:
            inside = (removed.values >= first) & (removed.values < first + tile_BT.shape[1])
            column = removed.values[inside].long() - first
            keys_BT[removed_query[inside].to(device), column.to(device)] = _REMOVED
        tile_items_BT = torch.arange(first, first + tile_BT.shape[1], device=device).expand(len(queries), -1)
        # what is there comes from lower rows, and equals stand in the order of their rows, so position decides ties
        keys_BM = torch.cat([keys_BK.to(device), keys_BT], dim=1)
        columns_BK = _best_columns(keys_BM, min(k, keys_BM.shape[1]))
        keys_BK = keys_BM.gather(1, columns_BK)
        items_BK = torch.cat([items_BK.to(device), tile_items_BT], dim=1).gather(1, columns_BK)
    return items_BK, keys_BK


def _keys(scores: Tensor) -> Tensor:
    """int64 of the same order as the scores (not NaN): as floats of one sign their bits are ordered like integers."""
    bits = (scores.to(torch.float64) + 0.0).view(torch.int64)  # minus zero becomes zero: as a tie, not as less
    return torch.where(bits < 0, bits ^ torch.iinfo(torch.int64).max, bits)


def _best_columns(keys_BM: Tensor, k: int) -> Tensor:
    """The k best columns of each row, key descending, then column ascending; ``torch.topk`` promises nothing among ties."""
    cut_B1 = keys_BM.topk(k, dim=1).values[:, -1:]
    above_BM = keys_BM > cut_B1
    at_cut_BM = keys_BM == cut_B1
    room_B1 = k - above_BM.sum(dim=1, keepdim=True)
    kept_BM = above_BM | (at_cut_BM & (at_cut_BM.cumsum(dim=1) <= room_B1))
    columns_BK = kept_BM.nonzero()[:, 1].view(-1, k)
    order_BK = keys_BM.gather(1, columns_BK).sort(dim=1, descending=True, stable=True).indices
    return columns_BK.gather(1, order_BK)


def _checked_seen(seen: Ragged, num_queries: int, num_items: int) -> Ragged:
    if seen.num_rows != num_queries:
        raise ValueError(f"seen must have a row for each query; came {seen.num_rows} for {num_queries} queries")
    outside = seen.values[(seen.values < 0) | (seen.values >= num_items)]
    if len(outside):
        raise ValueError(f"seen must hold catalogue rows, in [0, {num_items}); came {outside[:5].tolist()}")
    return seen
