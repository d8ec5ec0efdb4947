"""HNSW: approximate search in a graph of neighbours, with exact scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from twotower.index.arguments import require_whole
from twotower.index.centring import Centring, centring_tensors, read_centring
from twotower.index.contract import SearchResult
from twotower.index.exact import ExactIndex, exact_on_cpu
from twotower.index.faiss_library import faiss_library
from twotower.index.graph_search import FaissGraphSearch, NativeGraphSearch, graph_search
from twotower.index.hnsw_graph import Graph, build_graph, read_graph
from twotower.index.index_state import IndexConfig, IndexState, begun_config, checked_config
from twotower.index.shortlisted import enough_of, fraction_of, search_shortlists
from twotower.types import Ragged

__all__ = ["HNSWIndex"]

_KIND = "hnsw"
_LEAST_FRACTION = 0.3
_KEPT = 1.2
_BEAMS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


class HNSWIndex:
    """Most of the k best by dot product, found in a graph of neighbours; built by :meth:`build`.

    A ``VectorIndex``: a search keeps a beam of ``ef_search`` rows while it goes from neighbour to neighbour towards the query;
    the best that it met are scored as `ExactIndex` scores, and the k best of it are returned. Scores are exact, ties go to
    the lowest row, and the same question has the same answer; what may be missing is a row that the beam did not come by.

    Dot products are taken as they are (``METRIC_INNER_PRODUCT``), and not turned into distances by a further entry
    ``sqrt(M^2 - |x|^2)`` (Bachrach et al. 2014, "Speeding up the Xbox recommender system"): where norms vary, that entry is
    most of every vector and its neighbours are those of its norm, as Morozov and Babenko 2018 ("Non-metric similarity graphs
    for maximum inner product search") say. Before, the mean of all vectors is taken off each. For a query this takes the same
    off all scores, so that their order stays; but a graph of neighbours by dot product needs it: trained towers give vectors
    that have much in common, and with it every vector's neighbours are the same few longest ones. Recall@100, 100,000 vectors,
    32 neighbours, a beam of 200:

    ===================================  ================  =========
    vectors                              of a two-tower    made up
    norm around the mean, 1% and 99%     0.8 and 2.8       1.1 and 19
    ===================================  ================  =========
    dot product                          .327              .914
    dot product around the mean          .998              .914
    a further entry                      .965              .483
    a further entry, around the mean     .548              .483
    ===================================  ================  =========

    Rows that no other row is linked to are never found. Of the trained vectors these are a quarter, those nearest to the mean,
    and they are among the 100 best of no query that was tried: a beam that is wide enough finds all. But what every item must
    have a chance in, search exactly.

    ``excluded`` rows of a query widen its beam by as many. ``allowed`` widens it by the inverse of the fraction that is
    allowed; where this is small it is quicker to search all that is allowed exactly, and this is done: in a batch below three
    in ten, for a few queries below six in a hundred. So it is where the beam holds fewer than k that may be returned, and where
    k is more than a sixteenth of what may be.

    It lives on the CPU.

    Example:
        >>> import torch
        >>> vectors_ND = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
        >>> index = HNSWIndex.build(vectors_ND, ef_search=50)
        >>> index.search(vectors_ND[:1], k=2).rows_BK.shape, index.with_search(ef_search=80).ef_search
        (torch.Size([1, 2]), 80)
    """

    def __init__(
        self,
        exact: ExactIndex,
        graph: Graph | None,
        centring: Centring,
        walk: NativeGraphSearch | FaissGraphSearch | None,
        *,
        neighbours: int,
        ef_construction: int,
        ef_search: int,
    ) -> None:
        self._exact = exact
        self._graph = graph
        self._centring = centring
        self._walk = walk
        self._neighbours = neighbours
        self._ef_construction = ef_construction
        self._ef_search = ef_search

    @classmethod
    def build(
        cls,
        vectors_ND: Tensor | ExactIndex,
        *,
        neighbours: int = 32,
        ef_construction: int = 100,
        ef_search: int = 128,
        seed: int = 0,
        num_threads: int = 1,
    ) -> Self:
        """Build a graph over a copy of the vectors.

        Args:
            vectors_ND: Floats of any width (kept as float32), shape ``[N, D]``; N may be 0. Or an exact index on the CPU, which
                is then shared.
            neighbours: How many each vector is linked to, twice as many on the first level (M in the paper).
            ef_construction: The beam in which neighbours are looked for: a wider one makes a better graph, and takes longer.
            ef_search: The beam of a search, see :meth:`with_search`.
            seed: Of the rows' levels.
            num_threads: With one, the same vectors and seed give the same graph. More are quicker about in proportion, and the
                graph differs a little from one time to the next.

        Raises:
            ValueError: If the shape or the dtype is another, a number is not positive (``neighbours`` not at least 2), or the
                exact index is not on the CPU.
            DataError: If a vector holds NaN or an infinity; names the rows.
            MissingExtraError: If FAISS is not installed.
        """
        require_whole(2, neighbours=neighbours)
        require_whole(1, ef_construction=ef_construction, ef_search=ef_search, num_threads=num_threads)
        require_whole(0, seed=seed)
        exact = exact_on_cpu(vectors_ND)
        centring = Centring.of(exact.vectors)
        graph = walk = None
        if exact.num_vectors:
            graph = build_graph(
                centring.apply(exact.vectors),
                neighbours=neighbours,
                ef_construction=ef_construction,
                seed=seed,
                num_threads=num_threads,
            )
            walk = graph_search(graph, exact.vectors, centring)
        else:
            faiss_library()
        return cls(exact, graph, centring, walk, neighbours=neighbours, ef_construction=ef_construction, ef_search=ef_search)

    @classmethod
    def from_state(cls, vectors_ND: Tensor | ExactIndex, tensors: Mapping[str, Tensor], config: IndexConfig) -> Self:
        """Put together again what :meth:`state` gave.

        Args:
            vectors_ND: The vectors that it was built from, or an exact index of them on the CPU.
            tensors: As they were.
            config: As it was.

        Raises:
            CorruptBundleError: If something is missing, damaged, or of other vectors.
            IncompatibleBundleError: If it was written in a newer format.
            ValueError: As of :meth:`build`, and so is DataError.
            MissingExtraError: If neither FAISS nor a C compiler is there.
        """
        exact = exact_on_cpu(vectors_ND)
        numbers = checked_config(config, _KIND, exact.vectors, {"neighbours": 2, "ef_construction": 1, "ef_search": 1})
        centring = read_centring(tensors, exact.embedding_dim)
        graph = walk = None
        if exact.num_vectors:
            graph = read_graph(tensors, num_rows=exact.num_vectors, neighbours=numbers["neighbours"])
            walk = graph_search(graph, exact.vectors, centring)
        return cls(exact, graph, centring, walk, **numbers)

    def state(self) -> IndexState:
        """What the index is made of beside its vectors: a graph of about 9 bytes for each neighbour of each vector."""
        numbers = {"neighbours": self._neighbours, "ef_construction": self._ef_construction, "ef_search": self._ef_search}
        tensors = centring_tensors(self._centring) | ({} if self._graph is None else self._graph.tensors())
        return IndexState(tensors, {**begun_config(_KIND, self._exact.vectors), **numbers})

    def with_search(self, *, ef_search: int) -> Self:
        """The same graph with another beam: a wider one misses less and takes longer, about in proportion.

        Args:
            ef_search: At least 1. Of the rows that are met on the way, 1.2 k are scored exactly where the beam is narrower.

        Raises:
            ValueError: If it is not positive.
        """
        require_whole(1, ef_search=ef_search)
        return type(self)(
            self._exact,
            self._graph,
            self._centring,
            self._walk,
            neighbours=self._neighbours,
            ef_construction=self._ef_construction,
            ef_search=ef_search,
        )

    def search_settings(self, k: int) -> Sequence[Mapping[str, int]]:
        """What `tune` tries for :meth:`with_search`: from the quickest to the one that misses least."""
        return [{"ef_search": beam} for beam in sorted({math.ceil(k * share) for share in _BEAMS})]

    @property
    def num_vectors(self) -> int:
        """How many vectors the index holds (N)."""
        return self._exact.num_vectors

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return self._exact.embedding_dim

    @property
    def ef_search(self) -> int:
        """The beam of a search."""
        return self._ef_search

    @property
    def exact(self) -> ExactIndex:
        """The exact index of the same vectors, which scores what the beam holds."""
        return self._exact

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find most of the k rows with the highest dot product; see `twotower.index.VectorIndex.search`, and errors there.

        Returns:
            B rows of k results, on the CPU: always k where k may be returned.
        """
        own_BD = self._exact.checked(queries_BD, k, excluded, allowed)
        walk = self._walk
        if walk is None:
            return self._exact.search(own_BD, k, excluded=excluded, allowed=allowed)
        fraction = fraction_of(allowed)

        def shortlist(queries_BD: Tensor, extra: int) -> Tensor:
            beam = enough_of(self._ef_search + extra, fraction)
            kept = enough_of(math.ceil(max(self._ef_search, _KEPT * k)) + extra, fraction)
            return walk.shortlist(queries_BD, min(beam, self.num_vectors), min(kept, self.num_vectors))

        return search_shortlists(self._exact, shortlist, own_BD, k, excluded, allowed, least_fraction=_LEAST_FRACTION)
