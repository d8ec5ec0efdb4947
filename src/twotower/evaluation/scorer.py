"""What evaluation asks of a ranker, model or baseline: scores over the whole catalogue, in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

__all__ = ["Scorer"]


class Scorer(Protocol):
    """Scores every item of the catalogue for some rows of the examples that it was made for."""

    @property
    def num_items(self) -> int:
        """N, the catalogue's size."""
        ...

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """Scores of the queries over the catalogue, ``tile_size`` items at a time.

        Args:
            rows: int64 ``[B]``, rows of the examples; each is a query with its own context and history.
            tile_size: T; the last tile may be narrower.

        Yields:
            The first catalogue row of the tile, and its scores, float ``[B, T]``. Called again with the same rows, the
            same scores must come. Items with equal scores are ties.
        """
        ...
