"""Work cut into consecutive blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["blocks_of"]


def blocks_of(sizes: Tensor, most: int) -> Iterator[tuple[int, int]]:
    """Cut a sequence into consecutive blocks whose sizes sum to at most ``most``; a larger one is a block by itself.

    Args:
        sizes: Integers ``[n]``, none negative.
        most: At least 1.

    Yields:
        First and last (exclusive) position of each block; together they cover ``[0, n)``.

    Example:
        >>> list(blocks_of(torch.tensor([2, 2, 9, 1, 0]), 4))
        [(0, 2), (2, 3), (3, 5)]
    """
    ends = sizes.cumsum(0)
    start, done = 0, 0
    while start < len(sizes):
        stop = max(start + 1, int(torch.searchsorted(ends, done + most, right=True)))
        yield start, stop
        start, done = stop, int(ends[stop - 1])
