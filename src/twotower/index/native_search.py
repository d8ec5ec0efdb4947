"""Exact search in two passes, in C: products in 8 bits that are written nowhere leave few vectors to score in float64."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.in_threads import in_threads, shared_out
from twotower.native import native_library
from twotower.types import Ragged

__all__ = ["NativeSearch"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_BLOCK_ROWS = 16
_BLOCKS_AT_ONCE = 8
_FIRST_CHUNKS = (64, 64, 128, 256, 512, 1024, 2048)
_CHUNK = 4096
_GOLDEN = 0.6180339887498949
_TOGETHER = 512
_OF_A_THREAD = 64
_SCARCE = 16
_FOUND_BYTES = 8
# lists of queries do not begin at multiples of a page: they would share the places of a cache
_OFF_PAGES = 24
_CAUTIONS = (3.0, 7.0)
_SEARCH_AGAIN, _PROVED = 0, 1
_MOST_VECTORS = 2**31 - 2**10
_POINTER, _WHOLE, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


class NativeSearch:
    """Finds what `twotower.index.float64_search.Float64Search` finds, for the queries for which it can prove that.

    As in `twotower.index.certified_search.CertifiedSearch`, few bits prove that most vectors are not among the best, and the
    others are scored in float64. Here one pass does it: a product that can't reach its query's *floor* is dropped where it was
    computed, in a register, and the floor rises on the way.

    Order: the copy holds the vectors at steps of about the golden section of N, so that what was seen after n of them is an
    even sample. Within chunks of it they are sorted by their largest entry, because 16 neighbours, a block, share a scale and
    bounds.

    Floor: after n of N vectors the best scores of these, as estimated, say where the k-th of all will be: the rank ``x + 3
    sqrt(x) + 2`` with ``x = k n / N`` lies above it once in hundreds of times. It is found out when fewer than k are found, or
    the k-th score in float64 is below the floor; then the query is searched again, with that score as the floor, which is
    certain, or else with more caution.

    Bounds: those of `twotower.index.low_precision.LowPrecision` for int8, block by block. With ``v`` a vector and ``q`` a
    query, in units in which neither is longer than 1, and ``w`` and ``p`` what stands for them in whole steps,

        |q.v - p.w| <= |q - p| |v| + |p| |v - w|

    where the lengths of what was lost are computed in float64, and the product ``p.w`` is a sum of whole numbers, without
    error. To it come ``2 ** -24`` of a score for its rounding to float32, and ``2 ** -20`` for the arithmetic of the bounds.

    Scores: products of float32 are exact in float64; their sum is taken in one order for all vectors of a width, so that copies
    of a vector are tied. It is rounded to float32 as in the other search, whose sums may have another order.

    A query is left to the other search where more vectors may reach its floor than there is room for, as when most are tied,
    where fewer than k may be returned or k is more than a sixteenth of N, and where it is so short that scores leave the range
    of float32.

    Args:
        vectors_ND: float32, finite, contiguous, on the CPU; N at least 1; kept, not copied.
        unit: A power of two not below the longest vector, see `LowPrecision.unit_of`.
        tile_bytes: A bound on the lists of what was found; a large batch is shared out to as many threads as torch has, and
            each makes its own.
    """

    def __init__(self, vectors_ND: Tensor, unit: float, tile_bytes: int) -> None:
        library = _library()
        assert library is not None
        dim = vectors_ND.shape[1]
        self._library = library
        self._vectors = vectors_ND.numpy()
        self._unit = unit
        self._tile_bytes = tile_bytes
        self._rows = _in_search_order(self._vectors)
        self._num_blocks = len(self._rows) // _BLOCK_ROWS
        self._packed = np.empty(len(self._rows) * -(-dim // 4) * 4, dtype=np.uint8)
        self._blocks = np.empty((self._num_blocks, 4), dtype=np.float32)
        self._open_M = self._open(None)
        library.pack_vectors(
            _at(self._vectors), dim, unit, _at(self._rows), self._num_blocks, _at(self._packed), _at(self._blocks)
        )
        self._addresses = tuple(_at(each) for each in (self._vectors, self._packed, self._blocks, self._rows))

    def __reduce__(self) -> tuple[type[NativeSearch], tuple[Tensor, float, int]]:
        """Made anew where it is copied or unpickled: addresses mean nothing there."""
        return type(self), (torch.from_numpy(self._vectors), self._unit, self._tile_bytes)

    @staticmethod
    def can_search(num_vectors: int) -> bool:
        """Whether the kernel is there, and takes so many vectors."""
        return num_vectors <= _MOST_VECTORS and _library() is not None

    @classmethod
    def is_fast(cls, num_vectors: int) -> bool:
        """Whether it can, and this processor multiplies whole numbers faster than others."""
        library = _library()
        return library is not None and cls.can_search(num_vectors) and bool(library.is_fast())

    def search(
        self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[SearchResult, Tensor]:
        """See `twotower.index.VectorIndex.search`; all is checked, float32 and on the CPU.

        Returns:
            Rows and scores, ``[B, k]``, and which queries are proved (bool, ``[B]``); the rows of the others mean nothing.

        Raises:
            MemoryError: If there is no room for the lists.
        """
        num_queries = len(queries_BD)
        rows_BK = np.full((num_queries, k), NO_ROW, dtype=np.int64)
        scores_BK = np.full((num_queries, k), -np.inf, dtype=np.float32)
        proved_B = np.zeros(num_queries, dtype=np.bool_)
        open_M = self._open_M if allowed is None else self._open(allowed)
        at_once = max(1, min(_TOGETHER, self._tile_bytes // (_FOUND_BYTES * (4 * k + 1024))))

        def work(part: Tensor) -> None:
            mine = None if excluded is None else _ascending(excluded.take(part), len(self._vectors))
            own = slice(int(part[0]), int(part[-1]) + 1)
            rows_BK[own], scores_BK[own], proved_B[own] = self._search_part(queries_BD[own].numpy(), k, mine, open_M)

        if _SCARCE * k <= len(self._vectors):
            in_threads(work, shared_out(torch.arange(num_queries), at_once, _OF_A_THREAD))
        return SearchResult(torch.from_numpy(rows_BK), torch.from_numpy(scores_BK)), torch.from_numpy(proved_B)

    def _open(self, allowed: Tensor | None) -> Array:
        """A bit for each place of the copy (uint16, one number a block): whether it may be found."""
        open_M = np.empty(self._num_blocks, dtype=np.uint16)
        own = None if allowed is None else np.ascontiguousarray(allowed.numpy())
        self._library.open_places(_at(self._rows), self._num_blocks, _at(own), _at(open_M))
        return open_M

    def _search_part(
        self, queries_BD: Array, k: int, excluded: tuple[Array, Array] | None, open_M: Array
    ) -> tuple[Array, Array, Array]:
        floors_B = np.full(len(queries_BD), -np.inf)
        rows_BK, scores_BK, outcome_B = self._pass(queries_BD, k, excluded, open_M, floors_B, _CAUTIONS[0])
        again = np.flatnonzero(outcome_B == _SEARCH_AGAIN)
        if len(again):
            mine = None if excluded is None else _of_queries(excluded, again)
            found = self._pass(queries_BD[again], k, mine, open_M, floors_B[again], _CAUTIONS[1])
            rows_BK[again], scores_BK[again], outcome_B[again] = found
        return rows_BK, scores_BK, outcome_B == _PROVED

    def _pass(
        self,
        queries_BD: Array,
        k: int,
        excluded: tuple[Array, Array] | None,
        open_M: Array,
        floors_B: Array,
        caution: float,
    ) -> tuple[Array, Array, Array]:
        """Rows, scores and outcomes.

        Args:
            queries_BD: float32.
            k: As asked.
            excluded: Rows (uint64), ascending within each query, and offsets.
            open_M: See `_open`.
            floors_B: float64, scores that k vectors reach for certain; minus infinity: guesses take their place. Becomes the
                k-th score where k vectors were found.
            caution: How many deviations guesses keep away.
        """
        queries_BD = np.ascontiguousarray(queries_BD)
        num_queries, dim = queries_BD.shape
        rows_BK = np.full((num_queries, k), NO_ROW, dtype=np.int64)
        scores_BK = np.full((num_queries, k), -np.inf, dtype=np.float32)
        outcome_B = np.zeros(num_queries, dtype=np.uint8)
        room = min(self._tile_bytes // (_FOUND_BYTES * num_queries), 8192 + 8 * k) - _OFF_PAGES
        rows, offsets = excluded or (None, None)
        failed = self._library.search_vectors(
            *(
                *self._addresses,
                _at(open_M),
                self._num_blocks,
                dim,
                self._unit,
                _at(queries_BD),
                num_queries,
                _at(rows),
                _at(offsets),
            ),
            *(k, room, caution, _at(floors_B), _at(rows_BK), _at(scores_BK), _at(outcome_B)),
        )
        if failed:
            raise MemoryError(f"no memory for lists of {room:,} vectors for each of {num_queries:,} queries")
        return rows_BK, scores_BK, outcome_B


def _library() -> ctypes.CDLL | None:
    library = native_library("search")
    if library is not None:
        library.is_fast.restype = _WHOLE
        library.is_fast.argtypes = []
        library.pack_vectors.restype = None
        library.pack_vectors.argtypes = [_POINTER, _WHOLE, _REAL, _POINTER, _WHOLE, _POINTER, _POINTER]
        library.open_places.restype = None
        library.open_places.argtypes = [_POINTER, _WHOLE, _POINTER, _POINTER]
        library.search_vectors.restype = _WHOLE
        library.search_vectors.argtypes = [
            *(_POINTER,) * 5,
            *(_WHOLE, _WHOLE, _REAL, _POINTER, _WHOLE, _POINTER, _POINTER),
            *(_WHOLE, _WHOLE, _REAL),
            *(_POINTER,) * 4,
        ]
    return library


def _at(array: Array | None) -> int | None:
    return None if array is None else int(array.__array_interface__["data"][0])


def _in_search_order(vectors_ND: Array) -> Array:
    """Rows (int32) in the order of the copy, filled up with -1 to a number of blocks that are taken at once."""
    num_vectors = len(vectors_ND)
    step = max(1, int(num_vectors * _GOLDEN))
    while np.gcd(step, num_vectors) != 1:
        step += 1
    rows = np.arange(num_vectors) * step % num_vectors
    largest = np.maximum(vectors_ND.max(axis=1), -vectors_ND.min(axis=1))[rows]
    edges = np.cumsum([0, *_FIRST_CHUNKS]).tolist()
    edges += range(edges[-1] + _CHUNK, num_vectors + _CHUNK, _CHUNK)
    for start, stop in itertools.pairwise(edges):
        part = rows[start:stop]
        rows[start:stop] = part[np.argsort(-largest[start:stop], kind="stable")]
    at_once = _BLOCK_ROWS * _BLOCKS_AT_ONCE
    filled = np.full(-(-num_vectors // at_once) * at_once, -1, dtype=np.int32)
    filled[:num_vectors] = rows
    return filled


def _offsets(lengths: Array) -> Array:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])


def _of_queries(excluded: tuple[Array, Array], queries: Array) -> tuple[Array, Array]:
    rows, offsets = excluded
    parts = [rows[offsets[each] : offsets[each + 1]] for each in queries]
    return np.concatenate(parts), _offsets(np.array([len(part) for part in parts]))


def _ascending(excluded: Ragged, num_vectors: int) -> tuple[Array, Array]:
    lengths = excluded.lengths.numpy().astype(np.int64)
    keys = np.repeat(np.arange(len(lengths)) * num_vectors, lengths) + excluded.values.numpy().astype(np.int64)
    keys.sort()
    return (keys % num_vectors).astype(np.uint64), _offsets(lengths)
