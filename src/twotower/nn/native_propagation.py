"""A layer of propagation by a kernel in C."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from twotower.native import native_library
from twotower.nn.interaction_graph import Neighbours
from twotower.nn.untraced import untraced

__all__ = ["can_propagate", "native_layer"]

_POINTER, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_LEAST_NUMBERS = 2**17
"""Numbers added up from which threads pay."""


def can_propagate(*tables: Tensor) -> bool:
    """Whether there is a kernel for it, and nothing looks into operations: float32 on the CPU."""
    return all(table.dtype == torch.float32 for table in tables) and untraced(tables) and _library() is not None


def native_layer(
    own: Neighbours, others: Neighbours, from_VD: Tensor, factor: float, own_VD: Tensor, own_factor: float
) -> Tensor:
    """``own_factor own_VD[r] + factor scale[r] * sum of others.scale[n] from_VD[n]`` over the neighbours ``n`` of each row.

    Each number is added up by one thread, in one order: bits do not depend on how many there are.

    Raises:
        IndexError: If a neighbour is not a row of the other table.
        ValueError: If a table is not of as many rows as its side of the graph.
    """
    library = _library()
    assert library is not None
    sizes = (len(own), len(own.scale), len(others.scale)), (len(own_VD), len(own_VD), len(from_VD))
    if sizes[0] != sizes[1] or own_VD.shape[1:] != from_VD.shape[1:]:
        raise ValueError(f"tables of {list(own_VD.shape)} and {list(from_VD.shape)} do not fit {sizes[0]} rows of the graph")
    from_VD, own_VD = from_VD.contiguous(), own_VD.contiguous()
    out_VD = torch.empty_like(own_VD)
    dim = own_VD.shape[1]
    parts = torch.get_num_threads() if len(own.rows) * dim >= _LEAST_NUMBERS else 1
    wrong = library.propagate_layer(
        *(own.rows.data_ptr(), len(own.rows), own.offsets.data_ptr(), len(own), own.scale.data_ptr()),
        *(from_VD.data_ptr(), len(from_VD), others.scale.data_ptr(), dim, factor),
        *(own_VD.data_ptr(), own_factor, parts, out_VD.data_ptr()),
    )
    if wrong:
        raise IndexError(
            f"neighbours must be rows of a table of {len(from_VD)}, end to end; came {own.rows.min()} to {own.rows.max()}"
        )
    return out_VD


def _library() -> ctypes.CDLL | None:
    library = native_library("propagate")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.propagate_layer.argtypes = [
        *(_POINTER, _NUMBER, _POINTER, _NUMBER, _POINTER),
        *(_POINTER, _NUMBER, _POINTER, _NUMBER, _REAL),
        *(_POINTER, _REAL, _NUMBER, _POINTER),
    ]
    library.propagate_layer.restype = _NUMBER
    return library
