"""Who watches when: viewers come, stay for a window and go, and none of it is stored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twotower.datasets.livestream.hashes import Floats, Hashes, Integers, inverse_modulo
from twotower.datasets.livestream.shape import WorldShape
from twotower.datasets.livestream.values import AGE_SHARES, BAND_OF_AGE, GENDER_SHARES, NETWORK_SHARES, NUM_BANDS, PAIR_SHARES

__all__ = ["ID_BITS", "Attributes", "Viewers", "combination_shares", "scrambled", "unscrambled"]

ID_BITS = 31
_ODD = 0x2C9277B5
_ROUNDS = 2


class Attributes(NamedTuple):
    """What is true of some people, whether or not the log says it: places in the tables of `values`, int64 ``[n]`` each."""

    pair: Integers
    network: Integers
    age: Integers
    gender: Integers

    def combination(self) -> Integers:
        """One number for all that tastes follow: country with language, network, band of ages, gender."""
        networks, genders = len(NETWORK_SHARES), len(GENDER_SHARES)
        return ((self.pair * networks + self.network) * NUM_BANDS + BAND_OF_AGE[self.age]) * genders + self.gender


def combination_shares() -> Floats:
    """How many viewers have each combination of attributes, float64 ``[A]``, in the order of `Attributes.combination`."""
    bands = np.bincount(BAND_OF_AGE, weights=AGE_SHARES, minlength=NUM_BANDS)
    shares = (
        PAIR_SHARES[:, None, None, None]
        * NETWORK_SHARES[None, :, None, None]
        * bands[None, None, :, None]
        * GENDER_SHARES[None, None, None, :]
    )
    return shares.ravel()


class Viewers:
    """Every viewer of a world: a number in [0, total), in classes, within a class in order of arrival.

    In a class, ``m`` viewers are there at any time. At time ``t`` these are numbers ``floor(t m / window)`` and the ``m - 1``
    that follow, and each is equally likely to watch: so a row's viewer is found from two uniform numbers.

    Args:
        shape: Of the world.
        hashes: Of the world's seed.
    """

    def __init__(self, shape: WorldShape, hashes: Hashes) -> None:
        self.shape = shape
        self.hashes = hashes
        classes = shape.classes
        self.class_ends = np.cumsum([one.row_share for one in classes]) / sum(one.row_share for one in classes)
        self.windows = np.array([one.window for one in classes])
        here = [max(1.0, round(shape.rows * one.row_share * one.window / one.mean_rows)) for one in classes]
        self.here = np.array(here, dtype=np.int64)
        sizes = np.floor(self.here / self.windows).astype(np.int64) + self.here + 1
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.total = int(self.starts[-1])
        self.personal = np.array([one.personal for one in classes])
        self.returning = np.array([one.returning for one in classes])
        self.pair_ends = np.cumsum(PAIR_SHARES)
        self.network_ends = np.cumsum(NETWORK_SHARES)
        self.age_ends = np.cumsum(AGE_SHARES)
        self.gender_ends = np.cumsum(GENDER_SHARES)

    def watching(self, rows: Integers) -> Integers:
        """The viewer of each row of the log."""
        times = (rows + 0.5) / self.shape.rows
        group = _place(self.class_ends, self.hashes.uniform("row: class", rows))
        here = self.here[group]
        first = np.floor(times * here / self.windows[group]).astype(np.int64)
        among: Integers = (self.hashes.uniform("row: viewer", rows) * here).astype(np.int64)
        viewers: Integers = self.starts[group] + first + among
        return viewers

    def group(self, viewers: Integers) -> Integers:
        """The class of each viewer."""
        return np.searchsorted(self.starts[1:-1], viewers, side="right").astype(np.int64)

    def attributes(self, viewers: Integers) -> Attributes:
        """What is true of each viewer."""
        uniform = self.hashes.uniform
        return Attributes(
            pair=_place(self.pair_ends, uniform("viewer: country and language", viewers)),
            network=_place(self.network_ends, uniform("viewer: network", viewers)),
            age=_place(self.age_ends, uniform("viewer: age", viewers)),
            gender=_place(self.gender_ends, uniform("viewer: gender", viewers)),
        )


def _place(ends: np.ndarray, uniform: np.ndarray) -> Integers:
    """Where numbers in [0, 1) fall among shares, given as running sums; rounding never leads behind the last."""
    return np.searchsorted(ends[:-1], uniform, side="right").astype(np.int64)


def scrambled(numbers: Integers) -> Integers:
    """Numbers below 2^31 as the log shows them: others, each once, that do not tell the order of arrival."""
    shown = numbers
    for _ in range(_ROUNDS):
        shown = shown * _ODD % 2**ID_BITS
        shown = shown ^ (shown >> 16)
    return shown


def unscrambled(shown: Integers) -> Integers:
    """The numbers that `scrambled` showed so.

    Example:
        >>> unscrambled(scrambled(np.arange(4))).tolist()
        [0, 1, 2, 3]
    """
    numbers = shown
    for _ in range(_ROUNDS):
        numbers = numbers ^ (numbers >> 16)
        numbers = numbers * inverse_modulo(_ODD, ID_BITS) % 2**ID_BITS
    return numbers
