"""Who is watched: broadcasters hold the places of a community in turn."""

from __future__ import annotations

import numpy as np

from twotower.datasets.livestream.hashes import Floats, Hashes, Integers
from twotower.datasets.livestream.shape import WorldShape
from twotower.datasets.livestream.tastes import Tastes
from twotower.datasets.livestream.values import (
    AGE_SHARES,
    BAND_OF_AGE,
    GENDER_SHARES,
    NETWORK_SHARES,
    PAIR_COUNTRY,
    PAIR_LANGUAGE,
    PAIR_SHARES,
)
from twotower.datasets.livestream.viewers import Attributes

__all__ = ["Broadcasters"]

_LIKENESS = 2.0
"""How much more a community's broadcasters lean to its attributes than its viewers do: they are what it is about."""


class Broadcasters:
    """Every broadcaster of a world, numbered by community, place and turn.

    A community has R places; place r is watched with weight ``(r + 1) ** -zipf``, always, whoever holds it. A holder stays for
    a time of the place's own and is then followed by the next: so weights among those who are there add up to the same at any
    time, and whether a broadcaster is there is known from its number.

    Args:
        shape: Of the world.
        hashes: Of the world's seed.
        tastes: Of the world.
    """

    def __init__(self, shape: WorldShape, hashes: Hashes, tastes: Tastes) -> None:
        self.shape = shape
        self.hashes = hashes
        weights_R = np.arange(1, shape.places + 1, dtype=np.float64) ** -shape.zipf
        self.weights_R = weights_R / weights_R.sum()
        self._place_ends = np.cumsum(self.weights_R)
        shortest, longest = shape.stays
        slots = np.arange(shape.communities * shape.places, dtype=np.int64)
        self.stay = shortest * (longest / shortest) ** hashes.uniform("place: stay", slots)
        self.phase = hashes.uniform("place: phase", slots)
        self.total = len(slots) * (int(np.ceil(1 / shortest)) + 1)
        """No broadcaster of the log has a number as high as this."""
        self._pair_ends = _ends(PAIR_SHARES, (tastes.country_VK[PAIR_COUNTRY] + tastes.language_VK[PAIR_LANGUAGE]).T)
        self._network_ends = _ends(NETWORK_SHARES, tastes.network_VK.T)
        self._age_ends = _ends(AGE_SHARES, tastes.band_VK[BAND_OF_AGE].T)
        self._gender_ends = _ends(GENDER_SHARES, tastes.gender_VK.T)

    def draw_place(self, uniform: Floats) -> Integers:
        """The place at which numbers in [0, 1) fall."""
        return np.searchsorted(self._place_ends[:-1], uniform, side="right").astype(np.int64)

    def holding(self, communities: Integers, places: Integers, times: Floats) -> Integers:
        """The broadcaster who holds each place at a time in [0, 1) of the log."""
        slots = communities * self.shape.places + places
        held: Integers = self.turn(slots, times) * len(self.stay) + slots
        return held

    def turn(self, slots: Integers, times: Floats | float) -> Integers:
        """Whose turn it is in each slot (a community's place) at a time."""
        return np.floor(times / self.stay[slots] + self.phase[slots]).astype(np.int64)

    def community(self, broadcasters: Integers) -> Integers:
        """The community of each broadcaster."""
        return broadcasters % len(self.stay) // self.shape.places

    def attributes(self, broadcasters: Integers) -> Attributes:
        """What is true of each broadcaster at first; it follows its community, as its viewers do."""
        communities = self.community(broadcasters)
        uniform = self.hashes.uniform

        def draw(ends_KV: Floats, stream: str) -> Integers:
            values = ends_KV.shape[1]
            steps = (ends_KV + np.arange(len(ends_KV))[:, None]).ravel()
            found = np.searchsorted(steps, communities + uniform(stream, broadcasters), side="right").astype(np.int64)
            drawn: Integers = np.minimum(found - communities * values, values - 1)
            return drawn

        return Attributes(
            pair=draw(self._pair_ends, "broadcaster: country and language"),
            network=draw(self._network_ends, "broadcaster: network"),
            age=draw(self._age_ends, "broadcaster: age"),
            gender=draw(self._gender_ends, "broadcaster: gender"),
        )


def _ends(shares_V: Floats, leaning_KV: Floats) -> Floats:
    """Running sums of the shares of values in each community."""
    tilted_KV = shares_V * np.exp(_LIKENESS * leaning_KV)
    ends_KV = np.cumsum(tilted_KV / tilted_KV.sum(axis=1, keepdims=True), axis=1)
    ends_KV[:, -1] = 1.0
    return ends_KV
