"""Chance: what a table is worth when nothing is known."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["RandomScorer"]


class RandomScorer:
    """Independent uniform scores for every query and item, the same whenever the same rows are asked for.

    Args:
        num_items: N.
        seed: Of the scores.
    """

    def __init__(self, num_items: int, *, seed: int) -> None:
        self._num_items = num_items
        self.seed = seed

    @property
    def num_items(self) -> int:
        return self._num_items

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        first = int(rows[0]) if len(rows) else 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first)
        for start in range(0, self.num_items, tile_size):
            yield start, torch.rand(len(rows), min(tile_size, self.num_items - start), generator=generator)
