"""The best that any ranker can do on a planted log: the probability of every item, from what could be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.datasets.livestream.hashes import Integers
from twotower.datasets.livestream.oracle_counter import OracleCounter
from twotower.datasets.livestream.watches import World
from twotower.types import Ragged

__all__ = ["OracleScorer"]

_MOST_CHANGING = 4096
"""Items up to which looking at each for every row of a block costs less than scores of the whole catalogue."""


class OracleScorer:
    """Scores every item of a catalogue by the probability that it is what is watched in a row.

    What is known of a viewer with rows in train is its taste, and those of its favourites that it has watched before the row;
    of any other viewer, what its attributes say. Among broadcasters of a community, who is there at the time and how much each
    is watched is known. An item that is not there at the row's time has probability 0.

    It has the methods of `twotower.evaluation.Scorer`.

    Args:
        world: Of the log.
        viewers: int64 ``[n]``, the viewer's number of each judged row.
        log_rows: int64 ``[n]``, each judged row's number in the log.
        warm: bool ``[n]``, whether the viewer has rows in train.
        seen: Given judged rows, places in the above, the catalogue rows that each one's viewer has watched before.
        items: int64 ``[N]``, the broadcaster's number of each catalogue row; -1 for an item that is not of this world.
    """

    def __init__(
        self,
        world: World,
        *,
        viewers: Integers,
        log_rows: Integers,
        warm: NDArray[np.bool_],
        seen: Callable[[Tensor], Ragged],
        items: Integers,
    ) -> None:
        self.world = world
        self.viewers = viewers
        self.times = world.times(log_rows)
        self.warm = warm
        self.seen = seen
        self.items = items
        known_N = items >= 0
        places = world.broadcasters.shape.places
        slots = len(world.broadcasters.stay)
        self.slots_N = np.where(known_N, items % slots, 0)
        self.turns_N = np.where(known_N, items // slots, -1)
        self.communities_N = torch.from_numpy(self.slots_N // places)
        self.weights_N = torch.from_numpy(world.broadcasters.weights_R[self.slots_N % places].astype(np.float32))
        self._rows_of_items = np.argsort(items, kind="stable")
        self._sorted_items = items[self._rows_of_items]

    @property
    def num_items(self) -> int:
        return len(self.items)

    def counter(self, rows: Tensor) -> OracleCounter | None:
        """See `twotower.evaluation.CountingScorer`; None for rows so far apart in time that too many items come and go."""
        picked = rows.numpy()
        times_B = self.times[picked]
        slots, turns, broadcasters = self.slots_N, self.turns_N, self.world.broadcasters
        first_N, last_N = (broadcasters.turn(slots, moment) for moment in (times_B.min(initial=1.0), times_B.max(initial=0.0)))
        always_N = (first_N == turns) & (last_N == turns) & (turns >= 0)
        changing_J = np.flatnonzero((first_N <= turns) & (turns <= last_N) & ~always_N & (turns >= 0))
        if not len(picked) or len(changing_J) > _MOST_CHANGING:
            return None
        tastes_BK, places, items, shares = self._known(rows, picked, times_B)
        shape = broadcasters.shape
        there = np.zeros(shape.communities * shape.places, dtype=np.bool_)
        there[slots[always_N]] = True
        return OracleCounter(
            tastes_BK=tastes_BK.numpy(),
            weights_R=broadcasters.weights_R.astype(np.float32),
            there_KR=there.reshape(shape.communities, shape.places),
            communities_N=self.communities_N.numpy(),
            item_weights_N=self.weights_N.numpy(),
            always_N=always_N,
            changing_J=changing_J,
            there_BJ=broadcasters.turn(slots[None, changing_J], times_B[:, None]) == turns[changing_J],
            favourite_rows=places,
            favourite_items=items,
            favourite_shares=shares,
        )

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are probabilities, float32."""
        picked = rows.numpy()
        times_B = self.times[picked]
        tastes_BK, places, items, shares = self._known(rows, picked, times_B)
        turn_first_N, turn_last_N = (
            self.world.broadcasters.turn(self.slots_N, moment) if len(picked) else self.turns_N
            for moment in (times_B.min(initial=1.0), times_B.max(initial=0.0))
        )
        # who holds a place throughout the block is known for all of its rows at once; only the others are looked at one by one
        always_N = (turn_first_N == self.turns_N) & (turn_last_N == self.turns_N)
        ever_N = (turn_first_N <= self.turns_N) & (self.turns_N <= turn_last_N)
        some_N = ever_N & ~always_N
        steady_N = self.weights_N * torch.from_numpy(always_N)
        for start in range(0, self.num_items, tile_size):
            tile = slice(start, min(start + tile_size, self.num_items))
            scores_BT = tastes_BK.index_select(1, self.communities_N[tile]).mul_(steady_N[tile])
            changing = np.flatnonzero(some_N[tile])
            if len(changing):
                slots, turns = self.slots_N[tile][changing], self.turns_N[tile][changing]
                there_BJ = self.world.broadcasters.turn(slots[None, :], times_B[:, None]) == turns
                weights_BJ = self.weights_N[tile][changing] * torch.from_numpy(there_BJ)
                scores_BT[:, changing] = tastes_BK[:, self.communities_N[tile][changing]] * weights_BJ
            inside = (items >= tile.start) & (items < tile.stop)
            scores_BT.index_put_(
                (torch.from_numpy(places[inside]), torch.from_numpy(items[inside] - start)),
                torch.from_numpy(shares[inside]),
                accumulate=True,
            )
            yield start, scores_BT

    def _known(
        self, rows: Tensor, picked: Integers, times_B: NDArray[np.float64]
    ) -> tuple[Tensor, Integers, Integers, NDArray[np.float32]]:
        """What is known of the viewers of some rows: their tastes, and their favourites so far.

        Returns:
            float32 ``[B, K]``, communities with what is not a known favourite's; and of each known favourite the place in the
            block, the catalogue row and the probability.
        """
        world = self.world
        viewers, warm = self.viewers[picked], self.warm[picked]
        tastes_BK = np.empty((len(picked), world.shape.communities), dtype=np.float32)
        tastes_BK[warm] = world.tastes.shares(viewers[warm])
        tastes_BK[~warm] = world.tastes.shares_AK[world.viewers.attributes(viewers[~warm]).combination()]
        favourites_BF = world.favourites(viewers, times_B)
        shares_BF = (
            world.viewers.returning[world.viewers.group(viewers)][:, None] * np.array(world.shape.favourite_shares)
        ).astype(np.float32)
        items_BF = self._catalogue_rows(favourites_BF)
        seen = self.seen(rows)
        of_row = np.repeat(np.arange(len(picked)), seen.lengths.numpy())
        watched = of_row * self.num_items + seen.values.numpy().astype(np.int64)
        known_BF = np.isin(np.arange(len(picked))[:, None] * self.num_items + items_BF, watched)
        known_BF &= warm[:, None] & (items_BF >= 0)
        tastes_BK *= 1 - np.where(known_BF, shares_BF, 0).sum(axis=1, dtype=np.float32)[:, None]
        places, which = np.nonzero(known_BF)
        return torch.from_numpy(tastes_BK), places, items_BF[places, which], shares_BF[places, which]

    def _catalogue_rows(self, broadcasters: Integers) -> Integers:
        """Where broadcasters are in the catalogue; -1 where they are not."""
        if not len(self.items):
            return np.full(broadcasters.shape, -1, dtype=np.int64)
        found = np.minimum(np.searchsorted(self._sorted_items, broadcasters), len(self.items) - 1)
        return np.where(self._sorted_items[found] == broadcasters, self._rows_of_items[found], -1)
