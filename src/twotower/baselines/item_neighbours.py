"""Item-item nearest neighbours: what those who had this also had."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from twotower.baselines.blocks import blocks_of
from twotower.baselines.cooccurrences import cooccurrences
from twotower.baselines.fit_rows import FitRows
from twotower.types import Ragged

__all__ = ["ItemNeighbours", "fit_item_neighbours", "item_neighbour_scores"]

_CELLS = 2**22


@dataclass(frozen=True)
class ItemNeighbours:
    """The nearest neighbours of every item.

    Attributes:
        items: ``[N]`` rows: each item's neighbours, the most similar first; fewer where fewer items share a user with it.
        similarities: float64 ``[total]``, above 0, beside ``items.values``.
    """

    items: Ragged
    similarities: Tensor


def fit_item_neighbours(rows: FitRows, *, neighbours: int, shrinkage: float) -> ItemNeighbours:
    """Find each item's most similar items: the shrunk cosine of their columns of the binary user-item matrix.

    ``similarity(i, j) = c_ij / (sqrt(c_i c_j) + shrinkage)``, where ``c_ij`` users have both items, and ``c_i`` and ``c_j`` the
    one and the other; a repeated pair counts once. Sarwar et al. (2001), Item-Based Collaborative Filtering Recommendation
    Algorithms; Deshpande and Karypis (2004), Item-Based Top-N Recommendation Algorithms, whose scaling of each item's
    neighbours to length 1 is not done. Of neighbours that are alike, those of the lower catalogue row are kept. Nothing of
    the size N x N is held: memory is that of a block of items.

    Args:
        rows: What to fit on.
        neighbours: Kept of each item, at least 1.
        shrinkage: At least 0; draws similarities that rest on few users towards 0.

    Raises:
        ValueError: If a number is out of its range.
    """
    if neighbours < 1 or not shrinkage >= 0:
        raise ValueError(f"neighbours must be at least 1 and shrinkage at least 0; came {neighbours} and {shrinkage}")
    by_user = rows.distinct()
    users_N = torch.bincount(by_user.values, minlength=rows.num_items).to(torch.float64)
    kept_items, kept_similarities, lengths = [], [], []
    for first, counts_BN in cooccurrences(by_user, rows.num_items, cells=_CELLS):
        size = len(counts_BN)
        mine = torch.arange(size)
        counts_BN[mine, first + mine] = 0  # no item is its own neighbour
        item, other = counts_BN.nonzero(as_tuple=True)
        lengths_of = (users_N[first + item] * users_N[other]).sqrt()
        similarity = counts_BN[item, other] / (lengths_of + shrinkage)
        # by item, then from the most similar, then by row: stable sorts, the last key first
        order = torch.argsort(similarity, descending=True, stable=True)
        order = order[torch.argsort(item[order], stable=True)]
        found = torch.bincount(item, minlength=size)
        place = torch.arange(len(order)) - torch.repeat_interleave(found.cumsum(0) - found, found)
        order = order[place < neighbours]
        kept_items.append(other[order])
        kept_similarities.append(similarity[order])
        lengths.append(found.clamp(max=neighbours))
    offsets = torch.zeros(rows.num_items + 1, dtype=torch.int64)
    offsets[1:] = torch.cat(lengths).cumsum(0)
    return ItemNeighbours(Ragged(torch.cat(kept_items), offsets), torch.cat(kept_similarities))


def item_neighbour_scores(state: ItemNeighbours, seen: Ragged) -> Tensor:
    """Each item's similarity to the seen items that have it among their neighbours, summed; float64 ``[B, N]``."""
    num_items = state.items.num_rows
    scores_BN = torch.zeros(seen.num_rows, num_items, dtype=torch.float64)
    values = seen.values.long()
    sizes = torch.zeros(len(values) + 1, dtype=torch.int64)
    sizes[1:] = state.items.lengths[values].cumsum(0)
    # adjacent queries, so that each one's sum is made whole and in the order of its history
    for start, stop in blocks_of(sizes[seen.offsets[1:]] - sizes[seen.offsets[:-1]] + num_items, _CELLS):
        queries = seen.take(torch.arange(start, stop))
        places = Ragged(torch.arange(len(state.items.values)), state.items.offsets).take(queries.values.long())
        query = torch.repeat_interleave(torch.arange(stop - start), queries.lengths)
        cell = torch.repeat_interleave(query, places.lengths) * num_items + state.items.values[places.values]
        summed = torch.bincount(cell, weights=state.similarities[places.values], minlength=(stop - start) * num_items)
        scores_BN[start:stop] = summed.view(stop - start, num_items)
    return scores_BN
