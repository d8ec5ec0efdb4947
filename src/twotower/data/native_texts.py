"""The kernel that numbers texts and sorts them."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrow_text import ArrowText
from twotower.native import native_library

__all__ = ["NativeTexts"]

_MOST = 2**32 - 2


class NativeTexts:
    """What `twotower.data.coded_texts` does, by the machine's own instructions.

    Args:
        library: Of the source ``texts``.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        whole, address = ctypes.c_int64, ctypes.c_void_p
        library.texts_code.argtypes = [address, address, address, whole, address, whole, address, address]
        library.texts_code.restype = whole
        library.texts_sort.argtypes = [address, address, address, whole, address]
        library.texts_sort.restype = None
        library.texts_take.argtypes = [address, address, address, whole, address, address]
        library.texts_take.restype = None

    @staticmethod
    def here() -> NativeTexts | None:
        """The kernel; None where there is none."""
        library = native_library("texts")
        return None if library is None else NativeTexts(library)

    def code(self, texts: ArrowText) -> tuple[NDArray[np.uint32], NDArray[np.int64]] | None:
        """Number texts by the order of their bytes.

        Returns:
            The number of each, uint32 ``[n]`` (those that are not there: the number of distinct ones), and for each number,
            int64, a row that has it. None where they are more than the numbers.
        """
        n = len(texts.offsets) - 1
        if n > _MOST:
            return None
        places = np.zeros(1 << (n + n // 2).bit_length(), dtype=np.uint64)
        met, firsts = np.empty(n, dtype=np.uint32), np.empty(n, dtype=np.int64)
        valid = None if texts.valid is None else np.ascontiguousarray(texts.valid)
        of_valid = None if valid is None else valid.ctypes.data
        given, found = (texts.text.ctypes.data, texts.offsets.ctypes.data), (met.ctypes.data, firsts.ctypes.data)
        distinct = self._library.texts_code(*given, of_valid, n, places.ctypes.data, len(places), *found)
        rows = firsts[:distinct].copy()
        room = np.empty(4 * distinct, dtype=np.int64)
        self._library.texts_sort(*given, rows.ctypes.data, distinct, room.ctypes.data)
        rank = np.full(distinct + 1, distinct, dtype=np.uint32)
        rank[met[rows]] = np.arange(distinct, dtype=np.uint32)
        return rank[met if valid is None else np.minimum(met, np.uint32(distinct))], rows

    def take(self, texts: ArrowText, rows: NDArray[np.int64]) -> ArrowText:
        """Some of the texts, which are there."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(texts.offsets[rows + 1] - texts.offsets[rows], out=offsets[1:])
        text = np.empty(int(offsets[-1]), dtype=np.uint8)
        into = (text.ctypes.data, offsets.ctypes.data)
        self._library.texts_take(texts.text.ctypes.data, texts.offsets.ctypes.data, rows.ctypes.data, len(rows), *into)
        return ArrowText(text, offsets)
