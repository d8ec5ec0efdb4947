"""How many users two items have in common, some items at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.baselines.blocks import blocks_of
from twotower.types import Ragged

__all__ = ["cooccurrences"]


def cooccurrences(by_user: Ragged, num_items: int, *, cells: int = 2**22) -> Iterator[tuple[int, Tensor]]:
    """The rows of X'X for a binary user-item matrix X, in bounded memory and without a sparse product.

    Each item's users are looked up, and all of their items counted, so that the time grows with the sum over users of the
    square of how many items they have.

    Args:
        by_user: The distinct items of each user, as `FitRows.distinct` gives them.
        num_items: N.
        cells: Counts at a time (8 bytes each, and about as much again for what is counted), at least one item's N.

    Yields:
        The first item of a block, and int64 ``[b, N]``: users that have each item of the block and each item. An item beside
        itself counts all of its users.
    """
    users = torch.repeat_interleave(torch.arange(by_user.num_rows), by_user.lengths)
    order = torch.argsort(by_user.values, stable=True)
    users_of = users[order]
    offsets = torch.zeros(num_items + 1, dtype=torch.int64)
    offsets[1:] = torch.bincount(by_user.values.long(), minlength=num_items).cumsum(0)
    block = max(1, cells // max(1, num_items))
    for first in range(0, num_items, block):
        last = min(first + block, num_items)
        mine = users_of[offsets[first] : offsets[last]]
        item = torch.repeat_interleave(torch.arange(last - first), offsets[first + 1 : last + 1] - offsets[first:last])
        size = (last - first) * num_items
        counts = None
        for start, stop in blocks_of(by_user.lengths[mine], cells):
            others = by_user.take(mine[start:stop])
            cell = torch.repeat_interleave(item[start:stop], others.lengths) * num_items + others.values
            found = torch.bincount(cell, minlength=size)
            counts = found if counts is None else counts.add_(found)
        yield first, (torch.zeros(size, dtype=torch.int64) if counts is None else counts).view(last - first, num_items)
