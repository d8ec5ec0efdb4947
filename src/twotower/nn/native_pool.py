"""Pooling of table rows by a kernel in C."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.native import native_library
from twotower.nn.untraced import untraced

__all__ = ["can_pool", "native_pool"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_LEAST_NUMBERS = 2**18
"""Numbers looked up from which threads pay."""


def can_pool(table_VD: Tensor, values: Tensor, offsets: Tensor) -> bool:
    """Whether there is a kernel for it, and nothing looks into operations: float32 on the CPU, rows and offsets int64."""
    numbers = table_VD.dtype == torch.float32 and values.dtype == offsets.dtype == torch.int64
    return numbers and untraced((table_VD, values, offsets)) and _library() is not None


def native_pool(table_VD: Tensor, values: Tensor, offsets: Tensor, *, mean: bool) -> Tensor:
    """Sums or means of rows; the gradient of the table is dense, and there is no second derivative.

    Args:
        table_VD: float32.
        values: int64 ``[total]``, rows of the table.
        offsets: int64 ``[n + 1]``: where each bag's rows start; it starts at 0 and ends at ``total``.
        mean: Whether the sum is divided by the number of rows; an empty bag gives zeros.

    Returns:
        ``[n, D]``.

    Raises:
        IndexError: If a value is not a row of the table.
    """
    if not torch.is_grad_enabled():
        return _pooled(table_VD, values.contiguous(), offsets.contiguous(), mean=mean)
    pooled_BD: Tensor = _Pool.apply(table_VD, values.contiguous(), offsets.contiguous(), mean)  # type: ignore[no-untyped-call]
    return pooled_BD


def _pooled(table_VD: Tensor, values: Tensor, offsets: Tensor, *, mean: bool) -> Tensor:
    pooled_BD = table_VD.new_empty(len(offsets) - 1, table_VD.shape[1])
    shape = (table_VD.shape[0], table_VD.shape[1])
    _call("pool_forward", table_VD.contiguous(), shape, values, offsets, mean, pooled_BD)
    return pooled_BD


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, values: Tensor, offsets: Tensor, mean: bool) -> Tensor:
        ctx.save_for_backward(values, offsets)
        ctx.shape, ctx.mean = (table_VD.shape[0], table_VD.shape[1]), mean
        return _pooled(table_VD, values, offsets, mean=mean)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BD: Tensor) -> tuple[Tensor | None, ...]:
        values, offsets = ctx.saved_tensors
        table_grad_VD = grad_BD.new_zeros(ctx.shape)
        _call("pool_backward", grad_BD.contiguous(), ctx.shape, values, offsets, ctx.mean, table_grad_VD)
        return table_grad_VD, None, None, None


def _call(
    function: str, given: Tensor, shape: tuple[int, int], values: Tensor, offsets: Tensor, mean: bool, out: Tensor
) -> None:
    parts = torch.get_num_threads() if len(values) * shape[1] >= _LEAST_NUMBERS else 1
    wrong = getattr(_library(), function)(
        *(given.data_ptr(), *shape, values.data_ptr(), len(values), offsets.data_ptr(), len(offsets) - 1),
        *(int(mean), parts, out.data_ptr()),
    )
    if wrong:
        came = f"{values.min()} to {values.max()}" if len(values) else "none"
        raise IndexError(
            f"rows of a table of {shape[0]} must be in [0, {shape[0]}), in bags that are end to end; came {came}, in bags from "
            f"{offsets[0]} to {offsets[-1]} of {len(values)}"
        )


def _library() -> ctypes.CDLL | None:
    library = native_library("pool")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    for function in (library.pool_forward, library.pool_backward):
        function.argtypes = [_POINTER, _NUMBER, _NUMBER, _POINTER, _NUMBER, _POINTER, _NUMBER, _NUMBER, _NUMBER, _POINTER]
        function.restype = _NUMBER
    return library
