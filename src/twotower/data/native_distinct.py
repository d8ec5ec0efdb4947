"""Which items are in a batch, by a kernel in C: marks in a row of bits instead of a sort."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from twotower.native import native_library

__all__ = ["Distinct"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_MOST_SPREAD = 2**10
"""Rows of the catalogue for each item of a batch up to which marks of all rows take little room, and less time than a sort."""


class Distinct:
    """Finds the distinct items of one batch after the other; threads that call it at the same time do not see each other.

    Args:
        size: Of the catalogue: items are in ``[0, size)``.

    Example:
        >>> rows, columns, counts = Distinct(9)(torch.tensor([7, 2, 7]))
        >>> rows.tolist(), columns.tolist(), counts.tolist()
        ([2, 7], [1, 0, 1], [1.0, 2.0])
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rooms: list[tuple[Tensor, Tensor]] = []
        """Marks, all 0, and places: as many as were in use at one time, and none that is."""

    def __call__(self, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The distinct items, which of them each item is, and how often each is there.

        Args:
            items: int64 ``[n]``, on the CPU.

        Returns:
            int64 ``[C]``, ascending; int64 ``[n]``; float32 ``[C]``.

        Raises:
            IndexError: If an item is not in the catalogue.
        """
        library = _library()
        if library is None or self.size > _MOST_SPREAD * len(items):
            rows, columns, counts = torch.unique(items, return_inverse=True, return_counts=True)
            if len(rows) and not 0 <= int(rows[0]) <= int(rows[-1]) < self.size:
                raise IndexError(_outside(items, self.size))
            return rows, columns, counts.float()
        try:
            room = self._rooms.pop()  # a thread alone has it: the kernel lets the others run
        except IndexError:
            room = (
                torch.zeros(library.distinct_words(self.size), dtype=torch.int64, device="cpu"),
                torch.empty(self.size, dtype=torch.int32, device="cpu"),
            )
        items, (rows, columns) = items.contiguous(), torch.empty(2, len(items), dtype=torch.int64, device="cpu")
        counts = torch.empty(len(items), dtype=torch.float32, device="cpu")
        found = library.distinct(
            *(items.data_ptr(), len(items), self.size, *(each.data_ptr() for each in room)),
            *(rows.data_ptr(), columns.data_ptr(), counts.data_ptr()),
        )
        self._rooms.append(room)
        if found < 0:
            raise IndexError(_outside(items, self.size))
        return rows[:found], columns, counts[:found]


def _outside(items: Tensor, size: int) -> str:
    return f"items must be rows of the catalogue, in [0, {size}); came {items.min()} to {items.max()}"


def _library() -> ctypes.CDLL | None:
    library = native_library("distinct")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.distinct_words.argtypes = [_NUMBER]
    library.distinct_words.restype = _NUMBER
    library.distinct.argtypes = [_POINTER, *[_NUMBER] * 2, *[_POINTER] * 5]
    library.distinct.restype = _NUMBER
    return library
