"""Counting dot products above numbers where waiting is what costs: everything is asked for before anything is answered."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["device_counts"]

_BLOCK = 256
"""Items that are counted together, and together again in float64 where one of them can't be told."""
_SCORES_AT_ONCE = 2**26
_POSITIVES_AT_ONCE = 2048
_GATHERED = 2**25
"""Numbers of the vectors that are fetched for blocks at a time."""
_MOST_BLOCKS = 1 / 8
"""Share of the blocks from which it is cheaper to compute all in float64."""


def device_counts(
    queries_BD: Tensor, items_ND: Tensor, of_P: Tensor, own_P: Tensor, margins_B: Tensor
) -> tuple[Tensor, Tensor]:
    """How many items score more than, and as much as, some numbers: sums in float64 rounded to float32.

    Products in float32 settle all blocks of items in which none is near to the number; the others are summed again in float64,
    whole. The host waits once, for their number, whatever there is to count.

    Args:
        queries_BD: float32, finite, on any device, as all are.
        items_ND: float32, finite.
        of_P: int64, the query of each number.
        own_P: float32, the numbers.
        margins_B: float32, of each query: a product nearer to a number than that can't be told.

    Returns:
        Two int64 ``[P]``.
    """
    above_P, tied_P = torch.zeros(2, len(own_P), dtype=torch.int64, device=own_P.device)
    for first in range(0, len(own_P), _POSITIVES_AT_ONCE):
        part = slice(first, first + _POSITIVES_AT_ONCE)
        above_P[part], tied_P[part] = _counts(queries_BD[of_P[part]], items_ND, own_P[part], margins_B[of_P[part]])
    return above_P, tied_P


def _counts(queries_PD: Tensor, items_ND: Tensor, own_P: Tensor, margins_P: Tensor) -> tuple[Tensor, Tensor]:
    above_P, tied_P = torch.zeros(2, len(own_P), dtype=torch.int64, device=own_P.device)
    high_P1, low_P1 = (own_P + margins_P).unsqueeze(1), (own_P - margins_P).unsqueeze(1)
    open_parts = []
    for scores_PT in _tiles(queries_PD, items_ND):
        settled_PS = (scores_PT > high_P1).view(len(own_P), -1, _BLOCK).sum(dim=2)
        open_PS = (scores_PT >= low_P1).view(len(own_P), -1, _BLOCK).sum(dim=2) > settled_PS
        above_P += settled_PS.masked_fill_(open_PS, 0).sum(dim=1)
        open_parts.append(open_PS)
    open_PS = torch.cat(open_parts, dim=1)
    position, block = open_PS.nonzero(as_tuple=True)
    if len(position) > _MOST_BLOCKS * open_PS.numel() + len(own_P):
        above_P, tied_P = torch.zeros_like(above_P), torch.zeros_like(tied_P)
        for scores_PT in _tiles(queries_PD.double(), items_ND):
            above_P += (scores_PT > own_P.unsqueeze(1)).sum(dim=1)
            tied_P += (scores_PT == own_P.unsqueeze(1)).sum(dim=1)
        return above_P, tied_P
    at_once = max(1, _GATHERED // (_BLOCK * items_ND.shape[1]))
    for start in range(0, len(position), at_once):
        of_E, block_E = position[start : start + at_once], block[start : start + at_once]
        items_ES = block_E.unsqueeze(1) * _BLOCK + torch.arange(_BLOCK, device=own_P.device)
        vectors_ESD = items_ND[items_ES.clamp(max=len(items_ND) - 1)].double()
        scores_ES = torch.bmm(vectors_ESD, queries_PD[of_E].double().unsqueeze(2)).squeeze(2).float()
        scores_ES = scores_ES.masked_fill(items_ES >= len(items_ND), -torch.inf)
        own_E1 = own_P[of_E].unsqueeze(1)
        above_P.index_add_(0, of_E, (scores_ES > own_E1).sum(dim=1))
        tied_P.index_add_(0, of_E, (scores_ES == own_E1).sum(dim=1))
    return above_P, tied_P


def _tiles(queries_PD: Tensor, items_ND: Tensor) -> Iterator[Tensor]:
    """Products as float32, of whole blocks of items; minus infinity where there is none."""
    width = max(_BLOCK, _SCORES_AT_ONCE // max(1, len(queries_PD)) // _BLOCK * _BLOCK)
    for start in range(0, len(items_ND), width):
        items_TD = items_ND[start : start + width]
        padded = -(-len(items_TD) // _BLOCK) * _BLOCK
        scores_PT = torch.full((len(queries_PD), padded), -torch.inf, device=items_ND.device)
        scores_PT[:, : len(items_TD)] = queries_PD @ items_TD.to(queries_PD.dtype).T
        yield scores_PT
