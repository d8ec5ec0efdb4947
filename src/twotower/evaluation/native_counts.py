"""Counting dot products above numbers by a kernel in C."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from twotower.native import native_library
from twotower.types import Ragged

__all__ = ["NativeCounts"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_LEAST_PRODUCTS = 2**22
"""Multiplications from which threads pay."""
_NEAR_EACH, _NEAR_LEAST = 8, 1024
_NEAR_MOST = 2**23
"""Of all parts together: 128 MB."""
_NOT_THERE = 2


class NativeCounts:
    """The kernel with its queries and items.

    Args:
        library: The kernel.
        queries_BD: float32 on the CPU, finite.
        items_ND: The same.
    """

    def __init__(self, library: ctypes.CDLL, queries_BD: Tensor, items_ND: Tensor) -> None:
        self._library = library
        self._queries_BD, self._items_ND = queries_BD.contiguous(), items_ND.contiguous()

    @staticmethod
    def open(queries_BD: Tensor, items_ND: Tensor) -> NativeCounts | None:
        """None where the kernel is not there, or does not take such numbers."""
        if queries_BD.device.type != "cpu" or queries_BD.dtype != torch.float32 or items_ND.dtype != torch.float32:
            return None
        library = native_library("count")
        return None if library is None else NativeCounts(_declared(library), queries_BD, items_ND)

    def above(self, queries: Tensor, high_P: Tensor, low_P: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """How many items score more than numbers, and which are near to them.

        Args:
            queries: int64 ``[P]``, the query of each number, none less than the one before.
            high_P: float32.
            low_P: float32, not above ``high_P``.

        Returns:
            How many score more than ``high_P``, int64 ``[P]``; the pairs that score at least ``low_P`` and no more than
            ``high_P``, numbers (positions, int64 ``[n]``) and items (int64 ``[n]``). None where these are so many that others
            find them quicker.
        """
        (rows, dim), num_items, numbers = self._queries_BD.shape, len(self._items_ND), len(queries)
        starts = torch.searchsorted(queries, torch.arange(rows + 1))
        parts = min(_parts(rows * num_items * dim), max(1, rows))
        most = _room(numbers, parts)
        room = torch.empty(self._library.count_room(dim, numbers, parts), dtype=torch.uint8)
        above_P = torch.empty(numbers, dtype=torch.int64)
        near = torch.empty(parts, most, 2, dtype=torch.int64)
        near_counts = torch.empty(parts, dtype=torch.int64)
        high_P, low_P = high_P.contiguous(), low_P.contiguous()
        failed = self._library.count_above(
            *(self._queries_BD.data_ptr(), self._items_ND.data_ptr(), rows, num_items, dim),
            *(starts.data_ptr(), high_P.data_ptr(), low_P.data_ptr(), parts, most, room.data_ptr()),
            *(above_P.data_ptr(), near.data_ptr(), near_counts.data_ptr()),
        )
        return None if failed else (above_P, *_joined(near, near_counts))

    def listed(self, queries: Tensor, lists: Ragged, high_P: Tensor, low_P: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """As `above`, among the items in a list of each query alone.

        Args:
            queries: int64 ``[P]``, the query of each number, in any order.
            lists: int32 or int64 values, as many rows as queries.
            high_P: float32.
            low_P: float32, not above ``high_P``.

        Raises:
            IndexError: If a query or an item is not there.
        """
        (rows, dim), num_items, numbers = self._queries_BD.shape, len(self._items_ND), len(queries)
        parts = min(_parts(len(lists.values) * dim), max(1, numbers))
        most = _room(numbers, parts)
        above_P = torch.empty(numbers, dtype=torch.int64)
        near = torch.empty(parts, most, 2, dtype=torch.int64)
        near_counts = torch.empty(parts, dtype=torch.int64)
        if lists.num_rows != rows:
            raise IndexError(f"there must be a list for each of {rows} queries; came {lists.num_rows}")
        columns = [each.contiguous() for each in (queries, lists.offsets, lists.values.int(), high_P, low_P)]
        queries, offsets, values, high_P, low_P = columns
        failed = self._library.count_listed(
            *(self._queries_BD.data_ptr(), self._items_ND.data_ptr(), rows, num_items, dim),
            *(queries.data_ptr(), numbers, offsets.data_ptr(), values.data_ptr(), len(values)),
            *(high_P.data_ptr(), low_P.data_ptr(), parts, most),
            *(above_P.data_ptr(), near.data_ptr(), near_counts.data_ptr()),
        )
        if failed == _NOT_THERE:
            raise IndexError(f"an item of a list is not in [0, {num_items}), or a query not in [0, {rows})")
        return None if failed else (above_P, *_joined(near, near_counts))

    def pairs(self, queries: Tensor, items: Tensor, numbers_P: Tensor, margins_B: Tensor) -> tuple[Tensor, Tensor]:
        """Which pairs score more than numbers, and which can't be told.

        Args:
            queries: int64 ``[P]``.
            items: int64 ``[P]``.
            numbers_P: float32.
            margins_B: float32, of each query: nearer than that can't be told.

        Returns:
            Two bool ``[P]``.

        Raises:
            IndexError: If a query or an item is not there.
        """
        (rows, dim), num_items, count = self._queries_BD.shape, len(self._items_ND), len(queries)
        found = torch.empty(count, dtype=torch.uint8)
        columns = [column.contiguous() for column in (queries, items, numbers_P, margins_B)]
        wrong = self._library.count_pairs(
            *(self._queries_BD.data_ptr(), self._items_ND.data_ptr(), rows, num_items, dim),
            *(column.data_ptr() for column in columns),
            *(count, _parts(count * dim), found.data_ptr()),
        )
        if wrong >= 0:
            raise IndexError(f"pair {wrong} is of query {int(queries[wrong])} and item {int(items[wrong])}")
        return found == 1, found == 2


def _joined(near: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """What the parts found near, numbers and items."""
    pairs = torch.cat([near[part, :count] for part, count in enumerate(counts.tolist())])
    return pairs[:, 0], pairs[:, 1]


def _room(numbers: int, parts: int) -> int:
    """How many near pairs each part may find."""
    return min(max(_NEAR_LEAST, _NEAR_EACH * numbers), max(1, _NEAR_MOST // parts))


def _parts(products: int) -> int:
    return torch.get_num_threads() if products >= _LEAST_PRODUCTS else 1


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.count_room.argtypes = [_NUMBER] * 3
    library.count_room.restype = _NUMBER
    library.count_above.argtypes = [*[_POINTER] * 2, *[_NUMBER] * 3, *[_POINTER] * 3, *[_NUMBER] * 2, *[_POINTER] * 4]
    library.count_above.restype = _NUMBER
    library.count_listed.argtypes = [*[_POINTER] * 2, *[_NUMBER] * 3, _POINTER, _NUMBER, *[_POINTER] * 2, _NUMBER]
    library.count_listed.argtypes += [*[_POINTER] * 2, *[_NUMBER] * 2, *[_POINTER] * 3]
    library.count_listed.restype = _NUMBER
    library.count_pairs.argtypes = [*[_POINTER] * 2, *[_NUMBER] * 3, *[_POINTER] * 4, *[_NUMBER] * 2, _POINTER]
    library.count_pairs.restype = _NUMBER
    return library
