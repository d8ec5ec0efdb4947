"""Adagrad for embedding tables: an accumulator per number, updated in place where a sparse gradient touches."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.optim.in_place_adagrad import InPlaceAdagrad

__all__ = ["ExactAdagrad"]


class ExactAdagrad(InPlaceAdagrad):
    """Adagrad, where the cost of a step does not depend on the number of rows of a table.

    ``a += g^2``, ``w -= lr * g / (sqrt(a) + eps)`` (Duchi et al., 2011). A sparse gradient gives exactly what the dense
    one would, since a zero adds nothing and moves nothing. ``torch.optim.Adagrad`` does too, but builds sparse
    tensors anew at every step, of which torch warns.

    Args:
        parameters: Parameters, or groups of them, as for every optimiser of torch.
        lr: Learning rate, at least 0.
        initial_accumulator_value: What every ``a`` starts from, at least 0.
        eps: Above 0: keeps the first step finite when the accumulator starts from 0.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import torch
        >>> table = torch.nn.Embedding(3, 2, sparse=True)
        >>> optimizer = ExactAdagrad(table.parameters(), lr=0.1)
        >>> before = table.weight.detach().clone()
        >>> table(torch.tensor([2, 2])).sum().backward()
        >>> optimizer.step()
        >>> (table.weight != before).any(dim=1).tolist()
        [False, False, True]
    """

    by_row = False

    def new_accumulator(self, parameter: Tensor, value: float) -> Tensor:
        """One number for each of the parameter's."""
        return torch.full_like(parameter, value, memory_format=torch.preserve_format)

    def squares(self, gradient: Tensor) -> Tensor:
        """The squared gradient."""
        return gradient.square()
