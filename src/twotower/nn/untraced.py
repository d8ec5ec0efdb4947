"""Whether a kernel in C may take the place of operations and modules of torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["unhooked", "untraced"]


def untraced(tensors: Iterable[Tensor]) -> bool:
    """Whether all are tensors in the CPU's memory, and nothing looks into operations of torch.

    That is: no tracing, compiling, vmap, and no mode that is told of every operation (fake tensors, a count of what they cost).

    Args:
        tensors: What the kernel reads.
    """
    if (
        torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch.compiler.is_compiling()
    ):
        return False
    return all(each.device.type == "cpu" and type(each) in _PLAIN for each in tensors)


def unhooked(modules: Iterable[nn.Module]) -> bool:
    """Whether no hook wants to see what goes through one of the modules, or through all modules that there are."""
    if nn.modules.module._has_any_global_hook():  # type: ignore[no-untyped-call]
        return False
    return not any(
        each._forward_hooks or each._forward_pre_hooks or each._backward_hooks or each._backward_pre_hooks for each in modules
    )


_PLAIN = (Tensor, torch.nn.Parameter)
"""Others, such as fake tensors, have no memory."""
