"""Random numbers that are functions of what they are for: the same for a number whenever and in whatever order it is asked."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Hashes", "Integers", "inverse_modulo"]

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


class Hashes:
    """Uniform numbers by (seed, stream, number): SplitMix64 (Steele, Lea and Flood, 2014), vectorised.

    A stream is what a number is drawn for (a viewer's age, a row's duration); within it, whole numbers are told apart.

    Args:
        seed: Of all streams, in [0, 2^64).

    Example:
        >>> hashes = Hashes(7)
        >>> one, two = hashes.uniform("age", np.array([3])), hashes.uniform("age", np.array([2, 3]))
        >>> bool(one[0] == two[1])
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._keys: dict[str, np.uint64] = {}

    def bits(self, stream: str, numbers: Integers) -> NDArray[np.uint64]:
        """64 random bits for each number, uint64 of the numbers' shape."""
        mixed = numbers.astype(np.uint64)
        mixed *= np.uint64(_GOLDEN)
        mixed += self._key(stream)
        for shift, factor in ((30, _FIRST), (27, _SECOND)):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
        return mixed

    def uniform(self, stream: str, numbers: Integers) -> Floats:
        """A float64 in [0, 1) for each number, with 53 random bits."""
        return (self.bits(stream, numbers) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, stream: str, numbers: Integers) -> Floats:
        """A standard normal float64 for each number (Box and Muller, 1958)."""
        radius: Floats = np.sqrt(-2.0 * np.log1p(-self.uniform(stream, numbers)))
        drawn: Floats = radius * np.cos(2.0 * np.pi * self.uniform(f"{stream}, angle", numbers))
        return drawn

    def _key(self, stream: str) -> np.uint64:
        if stream not in self._keys:
            key = _mix(self.seed)
            for byte in stream.encode():
                key = _mix(key + byte)
            self._keys[stream] = np.uint64(key)
        return self._keys[stream]


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def inverse_modulo(odd: int, bits: int) -> int:
    """The number by which a product with an odd number is undone, modulo ``2 ** bits``.

    Example:
        >>> 5 * inverse_modulo(5, 31) % 2**31
        1
    """
    return int(pow(odd, -1, 2**bits))
