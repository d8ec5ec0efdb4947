"""What one rank has and others need: a tensor to all, rows to who asked for them, columns side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch import distributed as dist

from twotower.distributed.ranks import Ranks, speaking
from twotower.distributed.shares import share_sizes

__all__ = ["columns_of_all", "exchange", "fetch_rows", "spread_"]


def spread_(ranks: Ranks, values: Tensor, source: int) -> Tensor:
    """Write what one rank has over what the others have, in place; without gradients.

    Args:
        ranks: All of them.
        values: Of one shape and dtype on all ranks; contiguous.
        source: The rank whose values all get.
    """
    if ranks.size > 1 and values.numel():
        with speaking(ranks):
            dist.broadcast(values, group=ranks.group, group_src=source)
    return values


def exchange(ranks: Ranks, values: Tensor, lengths: Sequence[int], incoming: Sequence[int]) -> Tensor:
    """Give each rank a part of the rows, and get from each the part that it has for this one; without gradients.

    Args:
        ranks: All of them.
        values: ``[n, ...]``: the part for rank 0, then the one for rank 1, and so on.
        lengths: How many rows each rank gets; ``n`` together.
        incoming: How many rows come from each rank.

    Returns:
        ``[sum of incoming, ...]``, by rank.
    """
    if ranks.size == 1:
        return values
    found = values.new_empty(sum(incoming), *values.shape[1:])
    with speaking(ranks):
        dist.all_to_all_single(found, values.contiguous(), list(incoming), list(lengths), group=ranks.group)
    return found


def fetch_rows(ranks: Ranks, own: Tensor, lengths: Sequence[int], wanted: Tensor) -> Tensor:
    """Rows of a table of which every rank has a part; each rank gets what it wants, and no rank more; without gradients.

    Args:
        ranks: All of them.
        own: ``[n, ...]``, this rank's rows; those of rank 1 follow on those of rank 0.
        lengths: ``n`` of every rank.
        wanted: int64 ``[m]`` on the CPU, in ``[0, sum of lengths)``, none less than the one before; ``m`` may be another on
            every rank.

    Returns:
        ``[m, ...]``.

    Raises:
        ValueError: If a row is not there, or they fall; on this rank alone.
    """
    edges = torch.tensor([0, *accumulate(lengths)])
    if len(wanted) and (bool((wanted[1:] < wanted[:-1]).any()) or int(wanted[0]) < 0 or int(wanted[-1]) >= int(edges[-1])):
        raise ValueError(f"wanted rows must rise, and be in [0, {int(edges[-1])}); came {wanted[:5].tolist()}")
    if ranks.size == 1:
        return own[wanted.to(own.device)]
    asked = torch.searchsorted(wanted, edges).diff()
    mine = torch.zeros(ranks.size, ranks.size, dtype=torch.int64)
    mine[ranks.rank] = asked
    to_give = ranks.sum_(mine)[:, ranks.rank].tolist()
    places = exchange(ranks, wanted.to(own.device), asked.tolist(), to_give) - int(edges[ranks.rank])
    return exchange(ranks, own[places], to_give, asked.tolist())


def columns_of_all(ranks: Ranks, part_BK: Tensor) -> Tensor:
    """What all ranks have for this rank's share of the rows, side by side, columns of rank 0 first; without gradients.

    Args:
        ranks: All of them.
        part_BK: ``[B, K]``, of one shape and dtype on all ranks: this rank's columns of every row.

    Returns:
        ``[b, size * K]``, where ``b`` is this rank's share of B rows.
    """
    (num_rows, width), size = part_BK.shape, ranks.size
    mine = len(ranks.share(num_rows))
    found = exchange(ranks, part_BK, share_sizes(num_rows, size), [mine] * size)
    return found.view(size, mine, width).transpose(0, 1).reshape(mine, size * width)
