"""What the two in-place Adagrads share: options, accumulators that are there from the start, and the step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.optim.adagrad_update import update_in_place

__all__ = ["InPlaceAdagrad"]


class InPlaceAdagrad(Optimizer):
    """Abstract: Adagrad whose step costs by what a gradient touches; `ExactAdagrad` and `RowwiseAdagrad` are such.

    Args:
        parameters: Parameters, or groups of them, as for every optimiser of torch.
        lr: Learning rate, at least 0.
        initial_accumulator_value: What every accumulator starts from, at least 0.
        eps: Above 0: keeps the first step finite when the accumulator starts from 0.

    Raises:
        ValueError: If a number is out of its range.
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

    by_row: bool | None = None
    """What `squares` gives: the mean square of each row, the squares themselves (False), or something else (None)."""

    @abstractmethod
    def new_accumulator(self, parameter: Tensor, value: float) -> Tensor:
        """What a parameter's squared gradients are added to, filled with ``value``."""

    @abstractmethod
    def squares(self, gradient: Tensor) -> Tensor:
        """What rows ``[r, ...]`` of a gradient add to their accumulators."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, their accumulators at once: a saved state is complete before the first step."""
        unwrap(Optimizer.add_param_group)(self, param_group)  # as in `uncompiled`, which can't reach a call of super
        group = self.param_groups[-1]
        for parameter in group["params"]:
            self.state[parameter]["accumulator"] = self.new_accumulator(parameter, group["initial_accumulator_value"])

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient, sparse in its first dimension or dense.

        Raises:
            ValueError: If a gradient is sparse in more dimensions.
        """
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        accumulator = self.state[parameter]["accumulator"]
                        update_in_place(parameter, accumulator, self.squares, group["lr"], group["eps"], by_row=self.by_row)
        return loss
