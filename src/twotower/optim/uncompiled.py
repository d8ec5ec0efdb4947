"""Optimisers of torch that do not load torch's compiler."""

from __future__ import annotations

from inspect import unwrap
from typing import TypeVar

import torch
from torch.optim import Optimizer

__all__ = ["uncompiled"]

AnOptimizer = TypeVar("AnOptimizer", bound=Optimizer)

_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def uncompiled(optimizer_type: type[AnOptimizer]) -> type[AnOptimizer]:
    """The same optimiser, under the same name, for programs that do not compile its steps.

    torch wraps these methods so that ``torch.compile`` leaves them alone, and the wrapper imports the compiler with the first
    call, made by the constructor: 1,000 modules, a third of the time from the command to the first step of training. What it
    wraps is under ``__wrapped__``, as Python's ``functools.wraps`` has it; where nothing is wrapped, nothing changes.

    Args:
        optimizer_type: One of ``torch.optim``, or a class of one's own that inherits these methods.

    Returns:
        A subclass whose methods compute the same, to the bit. Its step has no gradient (``differentiable`` is not for it).

    Example:
        >>> weights = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = uncompiled(torch.optim.Adagrad)([weights], lr=0.1)
        >>> type(optimizer).__name__, isinstance(optimizer, torch.optim.Adagrad)
        ('Adagrad', True)
    """
    methods = {name: unwrap(getattr(optimizer_type, name)) for name in _METHODS}
    methods["step"] = torch.no_grad()(unwrap(optimizer_type.step))
    return type(
        optimizer_type.__name__, (optimizer_type,), {"__module__": __name__, "__doc__": optimizer_type.__doc__} | methods
    )
