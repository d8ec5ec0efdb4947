"""Adagrad on some rows of a table by a kernel in C."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from twotower.native import native_library

__all__ = ["update_rows"]

_POINTER, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_LEAST_NUMBERS = 2**17
"""Numbers to move from which threads pay."""


def update_rows(
    table_VD: Tensor, accumulators: Tensor, rows: Tensor, gradient_RD: Tensor, lr: float, eps: float, *, by_row: bool
) -> bool:
    """``a += g^2``, ``w -= lr * g / (sqrt(a) + eps)`` on some rows; both tensors are changed.

    Args:
        table_VD: The parameter.
        accumulators: ``[V]``, to which the mean square of a row is added, or ``[V, D]``.
        rows: int64 ``[R]``, distinct rows.
        gradient_RD: Of these rows.
        lr: Learning rate.
        eps: Above 0.
        by_row: Whether there is one accumulator for each row.

    Returns:
        False, with nothing changed, where there is no kernel for it.

    Raises:
        IndexError: If a row is not there; then nothing is changed.
    """
    tensors = (table_VD, accumulators, gradient_RD)
    if not all(each.device.type == "cpu" and each.dtype == torch.float32 for each in tensors) or table_VD.dim() != 2:
        return False
    if accumulators.shape != (table_VD.shape[:1] if by_row else table_VD.shape) or gradient_RD.shape[1:] != table_VD.shape[1:]:
        return False
    if rows.dtype != torch.int64 or len(rows) != len(gradient_RD):
        return False
    if not table_VD.is_contiguous() or not accumulators.is_contiguous() or (library := _library()) is None:
        return False
    rows, gradient_RD = rows.contiguous(), gradient_RD.contiguous()
    parts = torch.get_num_threads() if gradient_RD.numel() >= _LEAST_NUMBERS else 1
    outside = library.adagrad_rows(
        *(table_VD.data_ptr(), accumulators.data_ptr(), *table_VD.shape, rows.data_ptr(), len(rows)),
        *(gradient_RD.data_ptr(), lr, eps, by_row, parts),
    )
    if outside:
        raise IndexError(
            f"rows of a table of {len(table_VD)} must be in [0, {len(table_VD)}); came {rows.min()} to {rows.max()}"
        )
    torch.autograd.graph.increment_version((table_VD, accumulators))
    return True


def _library() -> ctypes.CDLL | None:
    library = native_library("adagrad")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.adagrad_rows.argtypes = [
        *[_POINTER] * 2,
        *[_NUMBER] * 2,
        _POINTER,
        _NUMBER,
        _POINTER,
        *[_REAL] * 2,
        *[_NUMBER] * 2,
    ]
    library.adagrad_rows.restype = _NUMBER
    return library
