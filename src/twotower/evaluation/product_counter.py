"""Counting dot products above a score: float32 settles nearly all of them, and float64 the few that it can't."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.evaluation.device_counts import device_counts
from twotower.evaluation.native_counts import NativeCounts
from twotower.threads import side_by_side
from twotower.types import Ragged

__all__ = ["ProductCounter"]

_ITEMS_AT_ONCE = 512
_PAIRS_AT_ONCE = 2**16
_POSITIVES_AT_ONCE = 2048
_PRODUCTS_AT_ONCE = 2**20
_DEVICE_NUMBERS, _DEVICE_PRODUCTS = 2**25, 2**26
"""What an accelerator is asked for at a time: numbers of the vectors of pairs, and products."""
_PAIR_IN_PRODUCTS = 16
"""Scores of a tile that take as long as that of one pair, whose vectors have to be fetched."""
_MOST_UNSETTLED = 1 / 64
"""Share of a tile from which it is cheaper to compute all of it in float64."""
_LEAST_PRODUCTS = 2**25
"""Multiplications from which threads that share the items out pay."""


class ProductCounter:
    """Counts of exact scores: products summed in float64 and rounded to float32.

    A sum of ``D`` products in float32, in whatever order, is off by at most ``(D + 1) u |q| |v|``, where ``u = 2 ** -24`` and
    the lengths are those of the two vectors (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). A product
    that is further than twice that from the score it is compared with is on the same side of it as the exact one. The others
    are summed again in float64.

    Args:
        queries_BD: float32, finite.
        items_ND: float32, finite.
        longest: Length of the longest item.
    """

    def __init__(self, queries_BD: Tensor, items_ND: Tensor, longest: float) -> None:
        self.queries_BD = queries_BD
        self.items_ND = items_ND
        unit = 2 * (queries_BD.shape[1] + 8) * 2.0**-24
        # the last term is for products too small for a float32
        self.margins_B = (unit * longest * queries_BD.double().norm(dim=1) + 1e-30).float() * 1.01
        self._native = NativeCounts.open(queries_BD, items_ND)
        self._pairs_at_once, self._products_at_once = _PAIRS_AT_ONCE, _PRODUCTS_AT_ONCE
        if queries_BD.device.type != "cpu":
            self._pairs_at_once = max(_PAIRS_AT_ONCE, _DEVICE_NUMBERS // queries_BD.shape[1])
            self._products_at_once = _DEVICE_PRODUCTS

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """See `twotower.evaluation.counting.ScoreCounter`; float32."""
        device = self.queries_BD.device
        scores = torch.empty(len(queries))
        for start in range(0, len(queries), self._pairs_at_once):
            part = slice(start, start + self._pairs_at_once)
            left_PD = self.queries_BD[queries[part].to(device)].double()
            scores[part] = (left_PD * self.items_ND[items[part].to(device)].double()).sum(dim=1).float().cpu()
        return scores

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.counting.ScoreCounter`: float32 settles nearly all pairs, as in `count`."""
        above, tied = torch.zeros(2, len(queries), dtype=torch.bool)
        if self._native is not None:
            above, near = self._native.pairs(queries, items, scores, self.margins_B)
            unsettled = near.nonzero().flatten()
            exact = self.pairs(queries[unsettled], items[unsettled])
            above[unsettled] = exact > scores[unsettled]
            tied[unsettled] = exact == scores[unsettled]
            return above, tied
        dense = len(queries) * _PAIR_IN_PRODUCTS > len(self.queries_BD) * len(self.items_ND)
        dense = dense and bool((queries[1:] >= queries[:-1]).all())
        rows = max(1, self._products_at_once // max(1, len(self.items_ND)))
        starts = range(0, len(self.queries_BD), rows) if dense else range(0, len(queries), self._pairs_at_once)
        for start in starts:
            if dense:  # of so many pairs it is quicker to score the queries' whole catalogue
                first, last = torch.searchsorted(queries, torch.tensor([start, start + rows])).tolist()
                products_RN = self.queries_BD[start : start + rows] @ self.items_ND.T
                part = slice(first, last)
                left, right = queries[part].to(products_RN.device), items[part].to(products_RN.device)
                near = products_RN.view(-1)[(left - start) * len(self.items_ND) + right]
            else:
                part = slice(start, start + self._pairs_at_once)
                left, right = queries[part].to(self.queries_BD.device), items[part].to(self.queries_BD.device)
                near = (self.queries_BD[left] * self.items_ND[right]).sum(dim=1)
            difference, margins = near - scores[part].to(near.device), self.margins_B[left]
            above[part] = (difference > margins).cpu()
            unsettled = (difference.abs() <= margins).nonzero().flatten().cpu()
            if len(unsettled):
                exact = self.pairs(queries[part][unsettled], items[part][unsettled])
                above[part.start + unsettled] = exact > scores[part][unsettled]
                tied[part.start + unsettled] = exact == scores[part][unsettled]
        return above, tied

    def count(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.counting.ScoreCounter`."""
        device = self.queries_BD.device
        if device.type != "cpu":
            counts = device_counts(self.queries_BD, self.items_ND, queries.to(device), scores.to(device), self.margins_B)
            above, tied = torch.stack(counts).cpu()
            return above, tied
        found = self._natively(queries, scores)
        return self._by_tiles(queries, scores) if found is None else found

    def _natively(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor] | None:
        if self._native is None or not bool((queries[1:] >= queries[:-1]).all()):
            return None
        margins_P = self.margins_B[queries]
        return self._settled(queries, scores, self._native.above(queries, scores + margins_P, scores - margins_P))

    def among(self, queries: Tensor, scores: Tensor, lists: Ragged) -> tuple[Tensor, Tensor] | None:
        """See `twotower.evaluation.counting.ListCounter`."""
        if self._native is None:
            return None
        margins_P = self.margins_B[queries]
        return self._settled(queries, scores, self._native.listed(queries, lists, scores + margins_P, scores - margins_P))

    def _settled(
        self, queries: Tensor, scores: Tensor, found: tuple[Tensor, Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor] | None:
        if found is None:
            return None
        above_P, position, items = found
        exact = self.pairs(queries[position], items)
        above_P += torch.bincount(position[exact > scores[position]], minlength=len(scores))
        return above_P, torch.bincount(position[exact == scores[position]], minlength=len(scores))

    def _by_tiles(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        own_P, of_P = scores, queries
        one_each = len(own_P) == len(self.queries_BD) and bool((of_P == torch.arange(len(own_P))).all())
        margins_P = self.margins_B[of_P]
        high_P1, low_P1 = (own_P + margins_P).unsqueeze(1), (own_P - margins_P).unsqueeze(1)
        parts = 1
        if self.queries_BD.numel() * len(self.items_ND) >= _LEAST_PRODUCTS:
            parts = max(1, min(torch.get_num_threads(), len(self.items_ND) // _ITEMS_AT_ONCE))
        counts_2QP = torch.zeros(2, parts, len(own_P), dtype=torch.int64)
        unsettled_by_part: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(parts)]

        def work(number: int) -> None:
            above_P, tied_P = counts_2QP[0, number], counts_2QP[1, number]
            for start in range(number * _ITEMS_AT_ONCE, len(self.items_ND), parts * _ITEMS_AT_ONCE):
                items_TD = self.items_ND[start : start + _ITEMS_AT_ONCE]
                scores_BT = self.queries_BD @ items_TD.T
                for first in range(0, len(own_P), _POSITIVES_AT_ONCE):
                    part = slice(first, first + _POSITIVES_AT_ONCE)
                    scores_PT = scores_BT if one_each and len(own_P) <= _POSITIVES_AT_ONCE else scores_BT[of_P[part]]
                    high, low, own_P1 = high_P1[part], low_P1[part], own_P[part].unsqueeze(1)
                    marks_PT = torch.empty_like(scores_PT)  # floats of 1 and 0 add up faster than bools
                    settled_P = torch.gt(scores_PT, high, out=marks_PT).sum(dim=1)
                    open_P = torch.ge(scores_PT, low, out=marks_PT).sum(dim=1) - settled_P
                    if float(open_P.sum()) > _MOST_UNSETTLED * scores_PT.numel() + len(open_P):
                        exact_PT = (self.queries_BD[of_P[part]].double() @ items_TD.double().T).float()
                        above_P[part] += (exact_PT > own_P1).sum(dim=1)
                        tied_P[part] += (exact_PT == own_P1).sum(dim=1)
                        continue
                    above_P[part] += settled_P.long()
                    rows = open_P.nonzero().flatten()
                    scores_RT = scores_PT[rows]
                    place, column = ((scores_RT >= low[rows]) & (scores_RT <= high[rows])).nonzero(as_tuple=True)
                    unsettled_by_part[number].append((rows[place] + first, column + start))

        side_by_side(work, parts)
        above_P, tied_P = counts_2QP.sum(dim=1)
        unsettled = [pair for pairs in unsettled_by_part for pair in pairs]
        if unsettled:
            position = torch.cat([rows for rows, _ in unsettled])
            exact = self.pairs(queries[position], torch.cat([items for _, items in unsettled]))
            above_P += torch.bincount(position[exact > own_P[position]], minlength=len(own_P))
            tied_P += torch.bincount(position[exact == own_P[position]], minlength=len(own_P))
        return above_P, tied_P
