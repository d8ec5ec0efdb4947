"""The best of some rows that are given for each query: how a shortlist gets the scores that exact search would give."""

from __future__ import annotations

import ctypes
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.in_threads import in_threads, shared_out
from twotower.native import native_library
from twotower.types import Ragged

__all__ = ["best_of_rows"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_GATHERED_BYTES = 2**22
_OF_A_THREAD = 16
_MOST_VECTORS = 2**32
_POINTER, _WHOLE = ctypes.c_void_p, ctypes.c_int64


def best_of_rows(
    vectors_ND: Tensor,
    queries_BD: Tensor,
    rows_BS: Tensor,
    k: int,
    excluded: Ragged | None = None,
    allowed: Tensor | None = None,
) -> SearchResult:
    """The k best of the given rows, for each query: score descending, then row ascending.

    Scores are those of `twotower.index.ExactIndex`: products of float32 summed in float64, rounded to float32.

    Args:
        vectors_ND: float32, contiguous, on the CPU, as all are.
        queries_BD: float32.
        rows_BS: int64, shape ``[B, S]``; a number outside of ``[0, N)`` stands for no row, and none may be there twice for a
            query. May be expanded from ``[1, S]``: the same rows for all queries.
        k: At least 1.
        excluded: Rows in ``[0, N)`` that are not returned, for each query its own (ragged, B rows).
        allowed: bool, shape ``[N]``: where False, the row is not returned.

    Returns:
        Rows and scores, ``[B, k]``; where fewer are given, the rest is row -1 with score minus infinity.
    """
    num_queries = len(queries_BD)
    rows_BK = np.full((num_queries, k), NO_ROW, dtype=np.int64)
    scores_BK = np.full((num_queries, k), -np.inf, dtype=np.float32)
    choose = _choose_in_c if _library() is not None and len(vectors_ND) < _MOST_VECTORS else _choose
    mask_N = None if allowed is None else np.ascontiguousarray(allowed.numpy())
    rows_BS = rows_BS if rows_BS.stride(1) == 1 else rows_BS.contiguous()

    def work(part: slice) -> None:
        mine = excluded
        if excluded is not None and num_queries > 1:
            mine = excluded.take(torch.arange(part.start, part.stop))
        choose(vectors_ND.numpy(), queries_BD[part].numpy(), rows_BS[part], mine, mask_N, rows_BK[part], scores_BK[part])

    parts = shared_out(torch.arange(num_queries), max(1, num_queries), _OF_A_THREAD) if num_queries > 1 else []
    if num_queries:
        in_threads(work, [slice(int(each[0]), int(each[-1]) + 1) for each in parts] or [slice(0, 1)])
    return SearchResult(torch.from_numpy(rows_BK), torch.from_numpy(scores_BK))


def _choose_in_c(
    vectors_ND: Array,
    queries_BD: Array,
    rows_BS: Tensor,
    excluded: Ragged | None,
    allowed_N: Array | None,
    rows_BK: Array,
    scores_BK: Array,
) -> None:
    library = _library()
    assert library is not None
    queries_BD = np.ascontiguousarray(queries_BD)
    left_out = None if excluded is None or len(vectors_ND) == 0 else _ascending(excluded, len(vectors_ND))
    values, offsets = left_out or (None, None)
    failed = library.best_of_rows(
        *(_at(vectors_ND), *vectors_ND.shape, _at(queries_BD), len(queries_BD)),
        *(rows_BS.data_ptr(), rows_BS.shape[1], rows_BS.stride(0), _at(values), _at(offsets), _at(allowed_N)),
        *(rows_BK.shape[1], _at(rows_BK), _at(scores_BK)),
    )
    if failed:
        raise MemoryError(f"no memory for a list of {rows_BS.shape[1]:,} rows")


def _choose(
    vectors_ND: Array,
    queries_BD: Array,
    rows_BS: Tensor,
    excluded: Ragged | None,
    allowed_N: Array | None,
    rows_BK: Array,
    scores_BK: Array,
) -> None:
    """The same in numpy: rows in ascending order, so that a stable sort by score leaves ties by lowest row."""
    num_queries, width = rows_BS.shape
    if width == 0 or len(vectors_ND) == 0:
        return
    own_BD = queries_BD.astype(np.float64)
    step = max(1, _GATHERED_BYTES // (4 * vectors_ND.shape[1] * width))
    for start in range(0, num_queries, step):
        part = slice(start, start + step)
        rows_PS = np.sort(rows_BS[part].numpy(), axis=1)
        scores_PS = np.empty(rows_PS.shape, dtype=np.float32)
        scores_PS[:] = np.einsum("bsd,bd->bs", vectors_ND.take(rows_PS, axis=0, mode="clip"), own_BD[part])
        scores_PS += np.float32(0.0)  # minus zero becomes zero: as a tie, not as less
        scores_PS[(rows_PS < 0) | (rows_PS >= len(vectors_ND))] = -np.inf
        if allowed_N is not None:
            scores_PS[~allowed_N.take(rows_PS, mode="clip")] = -np.inf
        if excluded is not None:
            for place, number in enumerate(range(start, start + len(rows_PS))):
                own = excluded.values[int(excluded.offsets[number]) : int(excluded.offsets[number + 1])]
                scores_PS[place, np.isin(rows_PS[place], own.numpy())] = -np.inf
        order_PK = np.argsort(-scores_PS, axis=1, kind="stable")[:, : rows_BK.shape[1]]
        found_PK = np.take_along_axis(scores_PS, order_PK, axis=1)
        scores_BK[part, : found_PK.shape[1]] = found_PK
        rows_BK[part, : found_PK.shape[1]] = np.where(found_PK > -np.inf, np.take_along_axis(rows_PS, order_PK, axis=1), NO_ROW)


def _library() -> ctypes.CDLL | None:
    library = native_library("search")
    if library is not None:
        library.best_of_rows.restype = _WHOLE
        library.best_of_rows.argtypes = [
            *(_POINTER, _WHOLE, _WHOLE, _POINTER, _WHOLE, _POINTER, _WHOLE, _WHOLE, _POINTER, _POINTER, _POINTER),
            *(_WHOLE, _POINTER, _POINTER),
        ]
    return library


def _at(array: Array | None) -> int | None:
    return None if array is None else int(array.__array_interface__["data"][0])


def _ascending(excluded: Ragged, num_vectors: int) -> tuple[Array, Array]:
    """Rows (uint64), ascending within each query, and offsets."""
    lengths = excluded.lengths.numpy().astype(np.int64)
    keys = np.repeat(np.arange(len(lengths)) * num_vectors, lengths) + excluded.values.numpy().astype(np.int64)
    keys.sort()
    return (keys % num_vectors).astype(np.uint64), np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
