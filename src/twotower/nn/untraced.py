"""Whether a kernel in C may take the place of operations of torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["untraced"]


def untraced(tensors: Iterable[Tensor]) -> bool:
    """Whether all are tensors in the CPU's memory, and nothing looks into operations of torch: no tracing, compiling, vmap.

    Args:
        tensors: What the kernel reads.
    """
    if (
        torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch.compiler.is_compiling()
    ):
        return False
    return all(each.device.type == "cpu" and type(each) in _PLAIN for each in tensors)


_PLAIN = (Tensor, torch.nn.Parameter)
"""Others, such as fake tensors, have no memory."""
