"""Adagrad with one accumulator per row: an embedding table of width D costs 1 / D of Adagrad's memory for state."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.optim.in_place_adagrad import InPlaceAdagrad

__all__ = ["RowwiseAdagrad"]


class RowwiseAdagrad(InPlaceAdagrad):
    """Adagrad whose accumulator is the mean of the squared gradient over each row, updated in place.

    ``a_r += mean_d(g_rd^2)``, ``w_rd -= lr * g_rd / (sqrt(a_r) + eps)``. A row is all that belongs to one index of the first
    dimension; in a vector each number is a row, and the update is Adagrad's own. Duchi et al. (2011); the row-wise form
    is that of DLRM and FBGEMM ("exact row-wise Adagrad": the gradient of a row is added up over the batch first).

    A sparse gradient touches its own rows only: the cost of a step does not depend on the number of rows. A dense
    gradient gives the same result, since a row of zeros adds nothing and moves nothing.

    Args:
        parameters: Parameters, or groups of them, as for every optimiser of torch.
        lr: Learning rate, at least 0.
        initial_accumulator_value: What every ``a_r`` starts from, at least 0.
        eps: Above 0: keeps the first step of a row finite when the accumulator starts from 0.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import torch
        >>> table = torch.nn.Embedding(3, 2, sparse=True)
        >>> optimizer = RowwiseAdagrad(table.parameters(), lr=0.1)
        >>> before = table.weight.detach().clone()
        >>> table(torch.tensor([2, 2])).sum().backward()
        >>> optimizer.step()
        >>> (table.weight != before).any(dim=1).tolist()
        [False, False, True]
    """

    by_row = True

    def new_accumulator(self, parameter: Tensor, value: float) -> Tensor:
        """One number for each row."""
        return torch.full(parameter.shape[:1], value, dtype=parameter.dtype, device=parameter.device)

    def squares(self, gradient: Tensor) -> Tensor:
        """Mean over all dimensions but the first; a vector's own squares, and a scalar's."""
        squared = gradient.square()
        return squared.flatten(1).mean(1) if gradient.dim() > 1 else squared
