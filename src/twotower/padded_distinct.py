"""The distinct ones among integers, in shapes that do not depend on which these are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PaddedDistinct", "padded_distinct"]


class PaddedDistinct(NamedTuple):
    """What ``torch.unique`` finds, filled up to as many as were given: the host need not know how many there are.

    So a CUDA graph, whose shapes are those with which it was captured, can hold what is done with them.

    Attributes:
        values: int64 ``[m]``: the distinct ones, ascending, then the same again and again, so that none of them is there much
            more often than the others: what is done with them is shared out evenly on an accelerator.
        places: int64 ``[m]``: which of ``values`` each one is.
        order: int64 ``[m]``: those that were given, sorted; equal ones as they came.
        starts: int64 ``[m + 1]``: where in ``order`` each of ``values`` begins, and ``m`` from there on: what only fills has
            nothing.
    """

    values: Tensor
    places: Tensor
    order: Tensor
    starts: Tensor

    @property
    def counts(self) -> Tensor:
        """int64 ``[m]``: how often each of ``values`` was given; 0 for what only fills."""
        return self.starts[1:] - self.starts[:-1]


def padded_distinct(given: Tensor) -> PaddedDistinct:
    """The distinct ones among integers, int64 ``[m]``, on any device, which is not waited for.

    Example:
        >>> found = padded_distinct(torch.tensor([7, 2, 7]))
        >>> found.values.tolist(), found.places.tolist(), found.counts.tolist()
        ([2, 7, 2], [1, 0, 1], [1, 2, 0])
    """
    size, device = len(given), given.device
    ordered, order = given.sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
    numbers = begins.cumsum(0) - 1  # of the distinct one that stands at each place
    order_of_places = torch.arange(size, device=device)
    values = ordered.scatter(0, numbers, ordered).index_select(0, order_of_places % (numbers[size - 1 :] + 1))
    places = torch.empty_like(order).scatter_(0, order, numbers)
    # where nothing begins is written behind the end
    starts = torch.full((size + 2,), size, dtype=torch.int64, device=device)
    starts.scatter_(0, torch.where(begins, numbers, size + 1), order_of_places)
    return PaddedDistinct(values, places, order, starts[: size + 1])
