"""Optimisers whose steps a CUDA graph can hold."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.optim.in_place_adagrad import InPlaceAdagrad
from twotower.optim.lazy_adam import LazyAdam

__all__ = ["let_steps_be_recorded"]


def let_steps_be_recorded(optimizers: Iterable[Optimizer], device: torch.device, *, captured: bool = True) -> None:
    """Put on the device what changes from one step to the next: learning rates, and counts of steps.

    A graph repeats operations on tensors; a Python number in them would stay what it was when the graph was captured. From then
    on `apply_learning_rate_factor` fills the rates. What is computed is the same but for rounding: updates of rows add to them.

    Args:
        optimizers: Of `build_optimizers`, states loaded.
        device: Where all their parameters are.
        captured: Whether steps will be captured. If not, those of touched rows alone, which would else make the host wait to be
            told how many rows that is, are made such; torch's own do not wait.
    """
    for optimizer in optimizers:
        if not (captured or isinstance(optimizer, InPlaceAdagrad | LazyAdam)):
            continue
        # torch's AdamW would warn that steps which are not captured, as the first ones are not, could be quicker
        optimizer._warned_capturable_if_run_uncaptured = True
        for group in optimizer.param_groups:
            if not isinstance(group["lr"], Tensor):
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
            if "capturable" in group:
                group["capturable"] = True
        for state in optimizer.state.values():
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(device)
