"""Torch's Adagrad, whose step over all dense parameters is one call."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

from twotower.native import native_library

__all__ = ["Adagrad"]

_LEAST_NUMBERS = 2**17
"""Numbers to move from which threads pay."""


class Adagrad(torch.optim.Adagrad):
    """Adagrad (Duchi et al. 2011) as torch has it, with its arguments, its state and the same result but for rounding.

    Of a few tables and layers torch's step takes five times as long to say what is to be done as to do it. Where there is no
    kernel, or anything but ``g = grad + decay * w; a += g^2; w -= lr * g / (sqrt(a) + eps)`` is asked for, the step is torch's.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if closure is None and (self._in_one_call() or self._recorded()):
            return None
        loss: float | None = unwrap(torch.optim.Adagrad.step)(self, closure)
        return loss

    def _recorded(self) -> bool:
        """The step of a graph that is captured, whose rates are tensors; False where they are not.

        Torch's own would read the count of steps on the host, though with no decay of the rate nothing depends on it.
        """
        if not all(isinstance(group["lr"], Tensor) for group in self.param_groups):
            return False
        for group in self.param_groups:
            if group["lr_decay"] or group["maximize"] or group["differentiable"]:
                raise ValueError("a rate that is a tensor goes with no decay of the rate, maximize or differentiable")
            for parameter in group["params"]:
                gradient, state = parameter.grad, self.state[parameter]
                if gradient is None:
                    continue
                state["step"] += 1
                if group["weight_decay"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                state["sum"].addcmul_(gradient, gradient)
                parameter.sub_(gradient.div(state["sum"].sqrt().add_(group["eps"])).mul_(group["lr"]))
        return True

    def _in_one_call(self) -> bool:
        library = _library()
        if library is None or getattr(self, "grad_scale", None) is not None:
            return False
        entries: list[tuple[Any, ...]] = []
        changed: list[Tensor] = []
        numbers = 0
        for group in self.param_groups:
            if group["lr_decay"] or group["maximize"] or group["differentiable"] or isinstance(group["lr"], Tensor):
                return False
            for parameter in group["params"]:
                gradient, state = parameter.grad, self.state[parameter]
                if gradient is None:
                    continue
                if not state or not (_takes(parameter) and _takes(gradient) and _takes(state["sum"]) and _takes(state["step"])):
                    return False
                sums, steps, size = state["sum"], state["step"], parameter.numel()
                addresses = parameter.data_ptr(), sums.data_ptr(), steps.data_ptr(), gradient.data_ptr()
                entries.append((*addresses, size, group["lr"], group["eps"], group["weight_decay"]))
                changed += parameter, sums, steps
                numbers += size
        if entries:
            parts = torch.get_num_threads() if numbers >= _LEAST_NUMBERS else 1
            library.adagrad_dense((_Dense * len(entries))(*(_Dense(*entry) for entry in entries)), len(entries), parts)
            torch.autograd.graph.increment_version(changed)
        return True


def _takes(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.dtype is torch.float32 and tensor.layout is torch.strided and tensor.is_contiguous()


class _Dense(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("rate", ctypes.c_float),
        ("epsilon", ctypes.c_float),
        ("decay", ctypes.c_float),
    )


def _library() -> ctypes.CDLL | None:
    library = native_library("adagrad")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.adagrad_dense.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    library.adagrad_dense.restype = None
    return library
