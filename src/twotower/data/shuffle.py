"""A permutation of any size, of which any part is computed by itself: nothing is held in memory.

A keyed Feistel network (Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom functions", 1988)
permutes the numbers of so many bits; walking on from a number that is too large until one is not (cycle walking: Black and
Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002) permutes those below any size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["permuted"]

# an even number gives both halves their width back; four are a pseudorandom permutation where halves are wide
_ROUNDS = 8


def permuted(places: NDArray[np.int64], size: int, key: Sequence[int]) -> NDArray[np.int64]:
    """What stands at some places of a permutation of ``0, 1, ..., size - 1``.

    Args:
        places: In ``[0, size)``, any shape.
        size: At least 1, at most 2**62.
        key: Integers, at least 0, for instance a seed and an epoch: each key gives a permutation of its own.

    Returns:
        int64, the shape of ``places``: a function of ``size``, ``key`` and the place alone.

    Raises:
        ValueError: If the size is out of its range, or a place is.

    Example:
        >>> permuted(np.arange(6), 6, key=[7, 0]).tolist()
        [0, 2, 4, 3, 1, 5]
        >>> permuted(np.array([4]), 6, key=[7, 0]).tolist()
        [1]
    """
    if not 1 <= size <= 2**62:
        raise ValueError(f"the size of a permutation must be in [1, 2**62]; came {size}")
    if places.size and not (int(places.min()) >= 0 and int(places.max()) < size):
        raise ValueError(f"places must be in [0, {size}); came {int(places.min())} to {int(places.max())}")
    bits = max(2, (size - 1).bit_length())
    keys = np.random.SeedSequence(list(key)).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    found = _encipher(places.astype(np.uint64).reshape(-1), bits, keys)
    outside = np.flatnonzero(found >= size)
    while len(outside):
        # the walk ends: it goes round a cycle that holds the place that it came from
        found[outside] = _encipher(found[outside], bits, keys)
        outside = outside[found[outside] >= size]
    return found.astype(np.int64).reshape(places.shape)


def _encipher(values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of the numbers of ``bits`` bits: each round mixes one half into the other, which can be undone."""
    low, high = bits // 2, bits - bits // 2
    left, right = values >> np.uint64(low), values & np.uint64((1 << low) - 1)
    for key in keys:
        left, right = right, left ^ (_mixed(right, key) & np.uint64((1 << high) - 1))
        low, high = high, low
    return (left << np.uint64(low)) | right


def _mixed(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea and Flood 2014) of value plus key; arithmetic is modulo 2**64."""
    mixed = values + key
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
