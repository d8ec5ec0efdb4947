"""Who watched whom in each row of the log, and how it was liked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.datasets.livestream.broadcasters import Broadcasters
from twotower.datasets.livestream.hashes import Floats, Hashes, Integers
from twotower.datasets.livestream.shape import WorldShape, shape_for
from twotower.datasets.livestream.tastes import Tastes
from twotower.datasets.livestream.viewers import Viewers

__all__ = ["Watches", "World"]


class Watches(NamedTuple):
    """Some rows of the log; all ``[n]``.

    Attributes:
        rows: int64, row numbers.
        times: float64, when in the log, in (0, 1).
        viewers: int64, numbers of viewers.
        broadcasters: int64, numbers of broadcasters.
        favourite: Whether the viewer came back to a favourite.
        own: Whether the community is one of the viewer's own.
    """

    rows: Integers
    times: Floats
    viewers: Integers
    broadcasters: Integers
    favourite: NDArray[np.bool_]
    own: NDArray[np.bool_]


class World:
    """The planted world of a log: all of it follows from the number of rows and the seed.

    Args:
        rows: n, at least 1.
        seed: In [0, 2^63).
        shape: Sizes and habits; by default those of `shape_for`.
    """

    def __init__(self, rows: int, seed: int, shape: WorldShape | None = None) -> None:
        self.shape = shape or shape_for(rows)
        self.hashes = Hashes(seed)
        self.viewers = Viewers(self.shape, self.hashes)
        self.tastes = Tastes(self.shape, self.hashes, self.viewers)
        self.broadcasters = Broadcasters(self.shape, self.hashes, self.tastes)
        self._favourite_ends = np.cumsum(self.shape.favourite_shares)

    def times(self, rows: Integers) -> Floats:
        """When each row happened: its middle, as a fraction of the log."""
        return (rows + 0.5) / self.shape.rows

    def watches(self, rows: Integers) -> Watches:
        """What happened in some rows of the log, int64 numbers in [0, n)."""
        uniform = self.hashes.uniform
        times = self.times(rows)
        viewers = self.viewers.watching(rows)
        combinations = self.viewers.attributes(viewers).combination()
        own = self.tastes.own(viewers, combinations)
        group = self.viewers.group(viewers)
        favourite = uniform("row: returns", rows) < self.viewers.returning[group]
        which = np.searchsorted(self._favourite_ends[:-1], uniform("row: favourite", rows), side="right")
        # a favourite is drawn as any watch is, but by the viewer's numbers in place of the row's: so it is always the same
        of_viewer = self._favourite_numbers(viewers, which)

        def choice(of: str) -> Floats:
            return np.where(favourite, uniform(f"viewer: favourite {of}", of_viewer), uniform(f"row: {of}", rows))

        communities = self._communities(combinations, own, group, choice("is own"), choice("community"))
        places = self.broadcasters.draw_place(choice("place"))
        return Watches(
            rows=rows,
            times=times,
            viewers=viewers,
            broadcasters=self.broadcasters.holding(communities, places, times),
            favourite=favourite,
            own=(own == communities[:, None]).any(axis=1),
        )

    def favourites(self, viewers: Integers, times: Floats) -> Integers:
        """The broadcasters that each viewer comes back to at a time, int64 ``[n, F]``; the same may come twice.

        A favourite is a place of a community: when who holds it stops, the viewer goes on with who takes over.
        """
        combinations = self.viewers.attributes(viewers).combination()
        own = self.tastes.own(viewers, combinations)
        group = self.viewers.group(viewers)
        columns = []
        for which in range(len(self.shape.favourite_shares)):
            numbers = self._favourite_numbers(viewers, np.array(which))
            is_own, community, place = (
                self.hashes.uniform(f"viewer: favourite {of}", numbers) for of in ("is own", "community", "place")
            )
            communities = self._communities(combinations, own, group, is_own, community)
            columns.append(self.broadcasters.holding(communities, self.broadcasters.draw_place(place), times))
        return np.stack(columns, axis=1)

    def _favourite_numbers(self, viewers: Integers, which: Integers) -> Integers:
        return viewers * len(self.shape.favourite_shares) + which

    def _communities(self, combinations: Integers, own: Integers, group: Integers, is_own: Floats, uniform: Floats) -> Integers:
        """Draws from the viewers' tastes: whether from what is their own, and where."""
        count = own.shape[1]
        column = np.minimum((uniform * count).astype(np.int64), count - 1)
        mine = np.take_along_axis(own, column[:, None], axis=1)[:, 0]
        return np.where(is_own < self.viewers.personal[group], mine, self.tastes.draw(combinations, uniform))
