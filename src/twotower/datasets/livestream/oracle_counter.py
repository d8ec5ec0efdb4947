"""Counting what stands above a score of the oracle: all communities have the same places, so that a few weights settle it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.datasets.livestream.hashes import Floats, Integers

__all__ = ["OracleCounter"]

_Singles = NDArray[np.float32]


class OracleCounter:
    """Has the methods of `twotower.evaluation.ScoreCounter`, for one block of rows.

    Args:
        tastes_BK: float32, what each community has of each row.
        weights_R: float32, of a community's places, all above 0.
        there_KR: bool, whether the catalogue has who holds a place throughout the block.
        communities_N: int64, of each catalogue row.
        item_weights_N: float32, of each catalogue row's place.
        always_N: bool, whether the item is there throughout the block.
        changing_J: int64, catalogue rows that are there for some rows of the block only.
        there_BJ: bool, for which.
        favourite_rows: int64, the row of each known favourite.
        favourite_items: int64, its catalogue row.
        favourite_shares: float32, what it has besides.
    """

    def __init__(
        self,
        *,
        tastes_BK: _Singles,
        weights_R: _Singles,
        there_KR: NDArray[np.bool_],
        communities_N: Integers,
        item_weights_N: _Singles,
        always_N: NDArray[np.bool_],
        changing_J: Integers,
        there_BJ: NDArray[np.bool_],
        favourite_rows: Integers,
        favourite_items: Integers,
        favourite_shares: _Singles,
    ) -> None:
        self.tastes_BK = tastes_BK
        order = np.argsort(weights_R, kind="stable")
        self.ascending_R = weights_R[order]
        # how many of a community's places, from the heaviest down to each, have their holder in the catalogue
        counted = np.cumsum(there_KR[:, order[::-1]], axis=1)[:, ::-1]
        self.from_place_KR = np.concatenate([counted, np.zeros((len(counted), 1), dtype=counted.dtype)], axis=1)
        self.communities_N = communities_N
        self.item_weights_N = item_weights_N
        self.always_N = always_N
        self.changing_J = changing_J
        self.there_BJ = there_BJ
        self._place_of = {int(item): place for place, item in enumerate(changing_J)}
        keys = favourite_rows * len(communities_N) + favourite_items
        order = np.argsort(keys, kind="stable")
        self.keys_F, first = np.unique(keys[order], return_index=True)
        times = np.arange(len(keys)) - np.repeat(first, np.diff(np.append(first, len(keys))))
        # one item may be several favourites of one viewer: their shares are added one after the other, as tiles do
        self.shares_FM = np.zeros((len(first), int(times.max(initial=-1)) + 1), dtype=np.float32)
        self.shares_FM[np.repeat(np.arange(len(first)), np.diff(np.append(first, len(keys)))), times] = favourite_shares[order]
        self.favourite_rows, self.favourite_items = np.divmod(self.keys_F, len(communities_N))

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """The score of some pairs, float32; see `twotower.evaluation.ScoreCounter`."""
        rows, columns = queries.numpy(), items.numpy()
        scores = self._without_favourites(rows, columns)
        if len(self.keys_F):
            keys = rows * len(self.communities_N) + columns
            found = np.minimum(np.searchsorted(self.keys_F, keys), len(self.keys_F) - 1)
            known = self.keys_F[found] == keys
            scores[known] = self._with_shares(scores[known], found[known])
        return torch.from_numpy(scores)

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `twotower.evaluation.ScoreCounter`."""
        found = self.pairs(queries, items)
        return found > scores, found == scores

    def count(self, queries: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """How many items score more, and as much; see `twotower.evaluation.ScoreCounter`."""
        rows, own = queries.numpy(), scores.numpy().astype(np.float32)
        above, least = np.zeros((2, len(own)), dtype=np.int64)
        for community in range(self.tastes_BK.shape[1]):
            tastes = self.tastes_BK[rows, community]
            from_place = self.from_place_KR[community]
            above += from_place[_first_place(tastes, self.ascending_R, own, strictly=True)]
            least += from_place[_first_place(tastes, self.ascending_R, own, strictly=False)]
        if len(self.changing_J):
            changing = self.tastes_BK[rows][:, self.communities_N[self.changing_J]] * self.item_weights_N[self.changing_J]
            changing = np.where(self.there_BJ[rows], changing, np.float32(0))
            above += (changing > own[:, None]).sum(axis=1)
            least += (changing >= own[:, None]).sum(axis=1)
        bare = self._without_favourites(self.favourite_rows, self.favourite_items)
        whole = self._with_shares(bare, np.arange(len(bare)))
        first, last = (np.searchsorted(self.favourite_rows, rows, side=side) for side in ("left", "right"))
        for place in range(int((last - first).max(initial=0))):
            asks = np.flatnonzero(first + place < last)
            at = (first + place)[asks]
            above[asks] += (whole[at] > own[asks]).astype(np.int64) - (bare[at] > own[asks])
            least[asks] += (whole[at] >= own[asks]).astype(np.int64) - (bare[at] >= own[asks])
        # who is not there has a score of 0
        least[own <= 0] = len(self.communities_N)
        return torch.from_numpy(above), torch.from_numpy(least - above)

    def _with_shares(self, scores: _Singles, favourites: Integers) -> _Singles:
        for shares_F in self.shares_FM.T:
            scores = scores + shares_F[favourites]
        return scores

    def _without_favourites(self, rows: Integers, items: Integers) -> _Singles:
        scores = self.tastes_BK[rows, self.communities_N[items]] * self.item_weights_N[items]
        there = self.always_N[items].copy()
        for at in np.flatnonzero(~there & np.isin(items, self.changing_J)):
            there[at] = self.there_BJ[rows[at], self._place_of[int(items[at])]]
        return np.where(there, scores, np.float32(0))


def _first_place(tastes: _Singles, ascending_R: _Singles, scores: _Singles, *, strictly: bool) -> Integers:
    """The lightest place whose product with each taste is more than the score (or as much): R where none is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted: Floats = scores.astype(np.float64) / tastes.astype(np.float64)
    found = np.searchsorted(ascending_R.astype(np.float64), np.nan_to_num(wanted, nan=np.inf, posinf=np.inf), side="left")
    # a product is rounded, so that the place may be a little lower or higher than the quotient says
    padded = np.concatenate([[np.float32(-1)], ascending_R, [np.float32(np.inf)]]).astype(np.float32)

    def passes(places: Integers) -> NDArray[np.bool_]:
        products = np.where(padded[places + 1] < 0, np.float32(-1), tastes * np.minimum(padded[places + 1], np.float32(1e30)))
        products = np.where(places >= len(ascending_R), np.float32(np.inf), products)
        return np.asarray(products > scores if strictly else products >= scores)

    while (lower := (found > 0) & passes(np.maximum(found - 1, 0))).any():
        found = found - lower
    while (higher := (found < len(ascending_R)) & ~passes(found)).any():
        found = found + higher
    return np.asarray(found, dtype=np.int64)
