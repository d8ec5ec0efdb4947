"""Adagrad for embedding tables: an accumulator per number, updated in place where a sparse gradient touches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.optim.adagrad_update import update_in_place

__all__ = ["ExactAdagrad"]


class ExactAdagrad(Optimizer):
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
            self.state[parameter]["accumulator"] = torch.full_like(
                parameter, group["initial_accumulator_value"], memory_format=torch.preserve_format
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
                            parameter, self.state[parameter]["accumulator"], torch.square, group["lr"], group["eps"]
                        )
        return loss
