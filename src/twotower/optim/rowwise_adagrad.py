"""Adagrad with one accumulator per row: an embedding table of width D costs 1 / D of Adagrad's memory for state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.optim.adagrad_update import update_in_place

__all__ = ["RowwiseAdagrad"]


class RowwiseAdagrad(Optimizer):
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

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-7,
    ) -> None:
        if not (lr >= 0 and initial_accumulator_value >= 0 and eps > 0):
            raise ValueError(
                "lr and initial_accumulator_value must be at least 0 and eps above 0; "
                f"came {lr}, {initial_accumulator_value} and {eps}"
            )
        super().__init__(parameters, {"lr": lr, "initial_accumulator_value": initial_accumulator_value, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, their accumulators at once: a saved state is complete before the first step."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            rows = parameter.shape[:1]
            self.state[parameter]["accumulator"] = torch.full(
                rows, group["initial_accumulator_value"], dtype=parameter.dtype, device=parameter.device
            )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient, sparse or dense."""
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        update_in_place(
                            parameter, self.state[parameter]["accumulator"], _mean_square, group["lr"], group["eps"]
                        )
        return loss


def _mean_square(gradient: Tensor) -> Tensor:
    """Mean over all dimensions but the first; a vector's own squares, and a scalar's."""
    squares = gradient.square()
    return squares.flatten(1).mean(1) if gradient.dim() > 1 else squares
