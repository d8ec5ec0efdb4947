"""The kernel that finds lines and fields in plain text."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.native import native_library

__all__ = ["NativeLines"]


class NativeLines:
    """What `twotower.data.plain_lines` does, by the machine's own instructions.

    Args:
        library: Of the source ``lines``.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        whole, byte, address = ctypes.c_int64, ctypes.c_uint8, ctypes.c_void_p
        library.lines_scan.argtypes = [address, whole, byte, whole, byte, address]
        library.lines_fields.argtypes = [address, whole, byte, address, whole, address, whole, address, address]
        library.lines_copy.argtypes = [address, address, address, whole, address]
        library.lines_copy.restype = None

    @staticmethod
    def here() -> NativeLines | None:
        """The kernel; None where there is none."""
        library = native_library("lines")
        return None if library is None else NativeLines(library)

    def scan(self, text: NDArray[np.uint8], separator: int, separators: int, quote: int) -> tuple[int, int, int, int] | None:
        """Lines that end, separators before the first end and behind the last, and where that is; None: not plain."""
        found = np.zeros(4, dtype=np.int64)
        plain = self._library.lines_scan(text.ctypes.data, len(text), separator, separators, quote, found.ctypes.data)
        return tuple(found.tolist()) if plain else None  # type: ignore[return-value]

    def fields(
        self, text: NDArray[np.uint8], separator: int, rows: NDArray[np.int64], fields: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        """Where fields of lines begin and end, ``[len(fields), len(rows)]``; both ascend. None where there is no such field."""
        rows, fields = np.ascontiguousarray(rows, dtype=np.int64), np.ascontiguousarray(fields, dtype=np.int64)
        begins, ends = np.empty((2, len(fields), len(rows)), dtype=np.int32)
        places = (rows.ctypes.data, len(rows), fields.ctypes.data, len(fields), begins.ctypes.data, ends.ctypes.data)
        return (begins, ends) if self._library.lines_fields(text.ctypes.data, len(text), separator, *places) else None

    def copy(self, text: NDArray[np.uint8], begins: NDArray[np.int32], ends: NDArray[np.int32]) -> NDArray[Any]:
        """Parts of a text one behind the other, uint8."""
        copied = np.empty(int(ends.sum(dtype=np.int64) - begins.sum(dtype=np.int64)), dtype=np.uint8)
        self._library.lines_copy(text.ctypes.data, begins.ctypes.data, ends.ctypes.data, len(begins), copied.ctypes.data)
        return copied
