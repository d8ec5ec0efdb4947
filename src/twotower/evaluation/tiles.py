"""A scorer's tiles, held to what a scorer promises."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.evaluation.scorer import Scorer

__all__ = ["checked_tiles"]


def checked_tiles(scorer: Scorer, rows: Tensor, tile_size: int, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Ask for the scores of some queries, and see that every item has one: what a tile left out would never compete.

    Args:
        scorer: Gives the scores.
        rows: int64 ``[B]``, rows of the scorer's examples.
        tile_size: T, at least 1.
        start: The scorer's first catalogue row.

    Yields:
        The first catalogue row of each tile, and its scores, float ``[B, T]``, without NaN.

    Raises:
        DataError: If a score is NaN.
        ValueError: If the tiles do not follow one another, have another number of rows, or do not cover the catalogue.
    """
    reached = start
    for first, tile_BT in scorer.tiles(rows, tile_size):
        if first != reached or tile_BT.ndim != 2 or tile_BT.shape[0] != len(rows):
            raise ValueError(
                f"a scorer's tiles must follow one another and have {len(rows)} rows; after {reached} items came "
                f"{list(tile_BT.shape)} scores from item {first}"
            )
        reached += tile_BT.shape[1]
        wrong_B = torch.isnan(tile_BT).any(dim=1)
        if bool(wrong_B.any()):
            query = int(wrong_B.nonzero()[0])
            raise DataError(
                f"scores must be numbers; one of query row {int(rows[query])} is NaN (catalogue rows {first} to "
                f"{reached - 1}): look for NaN in the model's weights or in the features"
            )
        yield first, tile_BT
    if reached - start != scorer.num_items:
        raise ValueError(f"a scorer's tiles must cover its {scorer.num_items} items; came {reached - start}")
