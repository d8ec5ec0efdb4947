"""Shortlists from a graph of neighbours: a beam of rows that comes ever nearer to the query."""

from __future__ import annotations

import ctypes
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.index.centring import Centring
from twotower.index.faiss_library import faiss_library, faiss_threads
from twotower.index.hnsw_graph import Graph, faiss_graph
from twotower.native import native_library

__all__ = ["FaissGraphSearch", "NativeGraphSearch", "graph_search"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_MOST_ROWS = 2**31 - 1
_LINE_BYTES = 64
_POINTER, _WHOLE, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


class NativeGraphSearch:
    """The way through a graph in C: `twotower/native/graph.c`.

    From the entry, on each upper level, to the best neighbour until none is better; then, on the first level, the neighbours of
    the best row of the *beam* that was not looked at yet join it, and the beam keeps its best, until all of it was looked at
    (Malkov and Yashunin 2018, https://arxiv.org/abs/1603.09320, algorithm 2; result and candidates are one list there too,
    where nothing is filtered).

    Scores on the way are estimates: vectors in whole steps of 8 bits, each vector's steps of its own size, and queries as well.
    Rows lie in memory by how many others are linked to them: a quarter is nine tenths of all that searches come by.

    Args:
        graph: Checked.
        vectors_ND: float32, contiguous, N at least 1.
        centring: What is taken off each vector, so that what distinguishes them fills the steps.
    """

    def __init__(self, graph: Graph, vectors_ND: Tensor, centring: Centring) -> None:
        library = _library()
        assert library is not None
        self._library = library
        num_rows, self._dim = vectors_ND.shape
        order_N = graph.by_popularity()
        graph = graph.renumbered(order_N)
        self._names = order_N.to(torch.int32).numpy()
        self._links = in_large_pages(graph.links_NL.numpy())
        self._upper_links, self._upper_from = graph.upper_links_UM.numpy(), graph.upper_from.numpy()
        self._entry, self._levels = graph.entry, int(graph.levels_N[graph.entry])
        codes = np.empty((num_rows, library.code_width(self._dim)), dtype=np.uint8)
        scales = np.empty(num_rows, dtype=np.uint8)
        # entries are at most 1; sizes of steps, each 12% more than the one before, from what is nothing beside them
        self._sizes = (2.0 ** ((np.arange(256) - 255) / 6) * (1.01 / 127)).astype(np.float32)
        library.encode_rows(
            *(vectors_ND.data_ptr(), num_rows, self._dim, centring.centre_D.data_ptr(), centring.unit),
            *(_at(self._sizes), _at(codes), _at(scales)),
        )
        self._codes, self._scales = in_large_pages(codes[order_N.numpy()]), scales[order_N.numpy()]

    @staticmethod
    def can_search(num_rows: int) -> bool:
        """Whether the kernel is there, and takes so many rows."""
        return num_rows <= _MOST_ROWS and _library() is not None

    def shortlist(self, queries_BD: Tensor, beam: int, kept: int) -> Tensor:
        """Rows near each query, none twice.

        Args:
            queries_BD: float32.
            beam: Of how many the neighbours are looked at, at least 1.
            kept: How many of the rows that were met are returned, at least 1.

        Returns:
            int64, ``[B, kept]``, the best estimate first; -1 where fewer rows can be reached.
        """
        queries_BD = queries_BD.contiguous()
        rows_BE = torch.empty(len(queries_BD), kept, dtype=torch.int64)
        failed = self._library.search_graph(
            *(_at(self._codes), _at(self._scales), _at(self._sizes), self._dim),
            *(_at(self._links), self._links.shape[1], _at(self._upper_links), _at(self._upper_from)),
            *(_at(self._names), self._entry, self._levels, queries_BD.data_ptr(), len(queries_BD)),
            *(min(beam, kept), kept, rows_BE.data_ptr()),
        )
        if failed:
            raise MemoryError(f"no memory for {kept:,} rows of a query")
        return rows_BE


class FaissGraphSearch:
    """The same by FAISS, where there is no C compiler; arguments as of `NativeGraphSearch`.

    Raises:
        MissingExtraError: If FAISS is not installed.
    """

    def __init__(self, graph: Graph, vectors_ND: Tensor, centring: Centring) -> None:
        self._faiss = faiss_library()
        self._index = faiss_graph(graph, centring.apply(vectors_ND))

    def shortlist(self, queries_BD: Tensor, beam: int, kept: int) -> Tensor:
        """See `NativeGraphSearch.shortlist`; the beam is at least as wide as what is kept."""
        norms_B1 = torch.linalg.vector_norm(queries_BD, dim=1, keepdim=True, dtype=torch.float64)
        # FAISS sums in float32: neither vectors nor queries are long
        own_BD = (queries_BD.double() / norms_B1.clamp(min=torch.finfo(torch.float64).tiny)).float()
        with faiss_threads(self._faiss, 1):
            parameters = self._faiss.SearchParametersHNSW(efSearch=max(beam, kept))
            return torch.from_numpy(self._index.search(own_BD.numpy(), kept, params=parameters)[1])


def graph_search(graph: Graph, vectors_ND: Tensor, centring: Centring) -> NativeGraphSearch | FaissGraphSearch:
    """The quicker of the two that is there; arguments and errors as of both."""
    kind = NativeGraphSearch if NativeGraphSearch.can_search(len(vectors_ND)) else FaissGraphSearch
    return kind(graph, vectors_ND, centring)


def in_large_pages(array: Array) -> Array:
    """A copy that begins a line of the cache, by numpy, which asks the system for large pages: rows are read at random."""
    raw = np.empty(array.nbytes + _LINE_BYTES, dtype=np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    own: Array = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    own[...] = array
    return own


def _at(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _library() -> ctypes.CDLL | None:
    library = native_library("graph")
    if library is not None:
        library.code_width.restype = _WHOLE
        library.code_width.argtypes = [_WHOLE]
        library.encode_rows.restype = None
        library.encode_rows.argtypes = [_POINTER, _WHOLE, _WHOLE, _POINTER, _REAL, _POINTER, _POINTER, _POINTER]
        library.search_graph.restype = _WHOLE
        library.search_graph.argtypes = [
            *(_POINTER, _POINTER, _POINTER, _WHOLE, _POINTER, _WHOLE, _POINTER, _POINTER, _WHOLE, _WHOLE),
            *(_WHOLE, _POINTER, _WHOLE, _WHOLE, _WHOLE, _POINTER),
        ]
    return library
