"""Rows of different lengths, copied by a kernel in C."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from twotower.native.library import native_library

__all__ = ["gather_rows", "keep_values", "other_values", "place_rows"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_LEAST_BYTES = 2**20
"""What a thread should have to copy."""
_SIZES = (1, 2, 4, 8)


def place_rows(offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor] | None:
    """Where some rows begin, and where they will when they are end to end.

    Args:
        offsets: int64 ``[n + 1]``.
        rows: int64 ``[m]``.

    Returns:
        int64 ``[m]`` and ``[m + 1]``, from 0. None where there is no kernel for it.

    Raises:
        IndexError: If a row is not there.
    """
    library = _library(rows, rows, offsets)
    if library is None or rows.dtype != torch.int64 or offsets.device.type != "cpu":
        return None
    offsets, rows, count = offsets.contiguous(), rows.contiguous(), len(rows)
    both = torch.empty(2 * count + 1, dtype=torch.int64)
    starts, kept = both[:count], both[count:]
    wrong = library.ragged_place(
        offsets.data_ptr(), len(offsets) - 1, rows.data_ptr(), count, starts.data_ptr(), kept.data_ptr()
    )
    if wrong >= 0:
        raise IndexError(f"rows must be in [0, {len(offsets) - 1}); came {int(rows[wrong])}")
    return starts, kept


def gather_rows(values: Tensor, starts: Tensor, offsets: Tensor) -> Tensor | None:
    """``values[starts[i] : starts[i] + offsets[i + 1] - offsets[i]]`` for every ``i``, end to end.

    Args:
        values: Any dtype, shape ``[total]``.
        starts: int64 ``[m]``.
        offsets: int64 ``[m + 1]``, from 0.

    Returns:
        None where there is no kernel for it.

    Raises:
        IndexError: If a row is not all there.
    """
    library = _library(values, starts, offsets)
    if library is None or starts.dtype != torch.int64 or len(starts) != len(offsets) - 1:
        return None
    values, starts, offsets = values.contiguous(), starts.contiguous(), offsets.contiguous()
    size = values.element_size()
    out = torch.empty(max(0, int(offsets[-1])), dtype=values.dtype)
    wrong = library.ragged_gather(
        *(values.data_ptr(), len(values), size, starts.data_ptr(), offsets.data_ptr(), len(starts)),
        *(_parts(out), out.data_ptr()),
    )
    if wrong >= 0:
        raise IndexError(
            f"row {wrong}, {int(offsets[wrong + 1] - offsets[wrong])} values from {int(starts[wrong])} on, is not within the "
            f"{len(values)} that there are"
        )
    return out


def keep_values(values: Tensor, marks: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor] | None:
    """The values that are marked, and where each row of them starts.

    Args:
        values: Numbers or bool, shape ``[total]``.
        marks: bool ``[total]``.
        offsets: int64 ``[n + 1]``, from 0 to ``total``, never falling.

    Returns:
        Values, and int64 ``[n + 1]``. None where there is no kernel for it.
    """
    library = _library(values, marks, offsets)
    if library is None or marks.dtype != torch.bool or len(marks) != len(values) or values.element_size() not in _SIZES:
        return None
    values, marks, offsets = values.contiguous(), marks.contiguous(), offsets.contiguous()
    rows = len(offsets) - 1
    kept = torch.empty_like(offsets)
    count = library.ragged_count(marks.data_ptr(), offsets.data_ptr(), rows, len(values), kept.data_ptr())
    if count < 0:
        return None
    out = torch.empty(count, dtype=values.dtype)
    library.ragged_keep(
        *(values.data_ptr(), values.element_size(), marks.data_ptr(), offsets.data_ptr(), kept.data_ptr(), rows),
        *(_parts(values), out.data_ptr()),
    )
    return out, kept


def other_values(values: Tensor, own: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor] | None:
    """The values that are not their row's own one, and where each row of them starts.

    Args:
        values: int32 ``[total]``.
        own: int64 ``[n]``.
        offsets: int64 ``[n + 1]``, from 0 to ``total``, never falling.

    Returns:
        Values, and int64 ``[n + 1]``. None where there is no kernel for it.
    """
    library = _library(values, own, offsets)
    if library is None or values.dtype != torch.int32 or own.dtype != torch.int64 or len(own) != len(offsets) - 1:
        return None
    values, own, offsets = values.contiguous(), own.contiguous(), offsets.contiguous()
    addresses, rows, kept = (values.data_ptr(), own.data_ptr(), offsets.data_ptr()), len(own), torch.empty_like(offsets)
    count = library.ragged_count_others(*addresses, rows, len(values), kept.data_ptr())
    if count < 0:
        return None
    out = torch.empty(count, dtype=values.dtype)
    library.ragged_others(*addresses, kept.data_ptr(), rows, _parts(values), out.data_ptr())
    return out, kept


def _parts(copied: Tensor) -> int:
    return max(1, min(torch.get_num_threads(), copied.nbytes // _LEAST_BYTES))


def _library(values: Tensor, others: Tensor, offsets: Tensor) -> ctypes.CDLL | None:
    here = values.device.type == others.device.type == "cpu" and values.dim() == others.dim() == 1
    if not here or offsets.dtype != torch.int64:
        return None
    library = native_library("ragged")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.ragged_place.argtypes = [_POINTER, _NUMBER, _POINTER, _NUMBER, *[_POINTER] * 2]
    library.ragged_place.restype = _NUMBER
    library.ragged_gather.argtypes = [_POINTER, _NUMBER, _NUMBER, _POINTER, _POINTER, _NUMBER, _NUMBER, _POINTER]
    library.ragged_gather.restype = _NUMBER
    library.ragged_count.argtypes = [_POINTER, _POINTER, _NUMBER, _NUMBER, _POINTER]
    library.ragged_count.restype = _NUMBER
    library.ragged_keep.argtypes = [_POINTER, _NUMBER, *[_POINTER] * 3, _NUMBER, _NUMBER, _POINTER]
    library.ragged_keep.restype = None
    library.ragged_count_others.argtypes = [*[_POINTER] * 3, _NUMBER, _NUMBER, _POINTER]
    library.ragged_count_others.restype = _NUMBER
    library.ragged_others.argtypes = [*[_POINTER] * 4, _NUMBER, _NUMBER, _POINTER]
    library.ragged_others.restype = None
    return library
