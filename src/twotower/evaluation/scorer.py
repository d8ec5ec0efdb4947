"""What evaluation asks of a ranker, model or baseline: scores over the whole catalogue, in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from twotower.distributed import Ranks

__all__ = ["Scorer", "SharedOutScorer"]


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


@runtime_checkable
class SharedOutScorer(Scorer, Protocol):
    """A `Scorer` of which each rank has the scores of a range of the catalogue; every method is called by all ranks."""

    @property
    def ranks(self) -> Ranks:
        """All of them."""
        ...

    @property
    def own(self) -> range:
        """The catalogue rows of this rank; those of rank 1 follow on those of rank 0."""
        ...

    def own_scores(self, blocks: Sequence[Tensor]) -> Iterator[Scorer]:
        """For each block of queries, its scores over this rank's range.

        Args:
            blocks: int64 ``[B]`` each, rows of the examples, at least one; the same on all ranks.

        Returns:
            Scorers of as many items as the range has, whose tiles begin with its first catalogue row; of each, the block's
            rows are asked for.
        """
        ...
