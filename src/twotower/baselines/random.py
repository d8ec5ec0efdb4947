"""Chance: what a table is worth when nothing is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["RandomScorer"]

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


class RandomScorer:
    """Independent uniform scores for every query and item: a hash of seed, row and item, the same however rows are batched.

    The hash is SplitMix64 (Steele, Lea and Flood, 2014), of which 53 bits make a float64 in [0, 1); ties are as good as
    excluded.

    Args:
        num_items: N.
        seed: Of the scores, at least 0.

    Example:
        >>> scorer = RandomScorer(4, seed=0)
        >>> (_, both_BT), (_, one_BT) = *scorer.tiles(torch.tensor([7, 3]), 4), *scorer.tiles(torch.tensor([3]), 4)
        >>> bool((both_BT[1] == one_BT[0]).all())
        True
    """

    def __init__(self, num_items: int, *, seed: int) -> None:
        self._num_items = num_items
        self.seed = seed

    @property
    def num_items(self) -> int:
        return self._num_items

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are float64."""
        start_of_row = _mixed(rows.numpy().astype(np.uint64) + _mixed(np.array([self.seed], dtype=np.uint64)))
        for start in range(0, self.num_items, tile_size):
            items = np.arange(start, min(start + tile_size, self.num_items), dtype=np.uint64)
            bits_BT = _mixed(start_of_row[:, None] + items[None, :] * _GOLDEN_GAMMA)
            bits_BT >>= np.uint64(11)
            yield start, torch.from_numpy(bits_BT * 2.0**-53)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 on every value; multiplication is modulo 2**64."""
    mixed = values + _GOLDEN_GAMMA
    mixed ^= mixed >> np.uint64(30)
    mixed *= _MIX_A
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_B
    mixed ^= mixed >> np.uint64(31)
    return mixed
