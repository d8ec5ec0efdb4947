"""Exact search by dot product: the k best of all vectors. The reference that other indexes are held to."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index.certified_search import SMALLEST_TILE_BYTES, CertifiedSearch
from twotower.index.contract import SearchResult
from twotower.index.float64_search import Float64Search
from twotower.index.low_precision import FIRST_PASSES, FirstPass, LowPrecision
from twotower.index.native_search import NativeSearch
from twotower.index.quickest import can_multiply, quickest_first_pass
from twotower.types import Ragged

__all__ = ["ExactIndex", "FirstPassChoice"]

FirstPassChoice: TypeAlias = FirstPass | Literal["auto", "none"]
"""Products in few bits before those in float64; ``auto``: what is quickest here; ``none``: all in float64."""

_Certified: TypeAlias = CertifiedSearch | NativeSearch
_FEWEST_VECTORS, _FEWEST_NATIVE = 2**14, 2**10
"""From how many on a first pass pays: of torch, half as many take a query alone twice as long with it, a batch two thirds of
the time; the kernel's takes three quarters and half of the time."""


class ExactIndex:
    """The k best of all vectors by dot product; built by :meth:`build`.

    Scores are sums in float64 rounded to float32. Summed in float32, the same vector at two places of the catalogue can
    score differently in the last bit, and a query alone differently than in a batch, so that ties would be decided by the
    arithmetic. Ties go to the lowest row.

    Most vectors need no such score: products in few bits, and a bound on their error, prove that they are not among the best
    (`twotower.index.native_search.NativeSearch` in C, `twotower.index.certified_search.CertifiedSearch` without a compiler).
    Queries for which that proves too little, and small indexes, are searched in float64 throughout.

    A ``VectorIndex``. It lives on the device of its vectors, which must have float64 (a CPU or a CUDA device); queries come
    to it.

    Example:
        >>> index = ExactIndex.build(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        >>> result = index.search(torch.tensor([[2.0, 1.0]]), k=4, excluded=Ragged(torch.tensor([1]), torch.tensor([0, 1])))
        >>> result.rows_BK.tolist(), result.scores_BK.tolist()
        ([[0, 2, -1, -1]], [[2.0, 2.0, -inf, -inf]])
    """

    def __init__(
        self, vectors_ND: Tensor, max_norm: float, slow: Float64Search, certified: _Certified | None, first_pass: str
    ) -> None:
        self._vectors_ND = vectors_ND
        self._max_norm = max_norm
        self._slow = slow
        self._certified = certified
        self._first_pass = first_pass

    @classmethod
    def build(cls, vectors_ND: Tensor, *, tile_bytes: int = 16 * 2**20, first_pass: FirstPassChoice = "auto") -> Self:
        """Build an index over a copy of the vectors.

        Args:
            vectors_ND: Floats of any width (kept as float32), shape ``[N, D]``; N may be 0.
            tile_bytes: A bound on each tensor that a search makes beside its results, as long as it is enough for some
                thousand scores and some vectors. With a first pass, each thread that works on a large batch makes its own.
            first_pass: In what products are taken before the few that matter are taken again in float64: the answers are the
                same. ``int8`` keeps a copy of the vectors of a quarter of their size, ``bfloat16`` of half, ``float32`` none,
                and each a sample of every 9th or 17th besides; int8 as a kernel in C, 5 bytes a vector. ``auto`` takes that
                kernel where a processor's whole numbers make it fast, else what is quickest on this machine, as
                measured once in a process, and none where it wouldn't pay (few vectors), or bounds are not known (another
                device than a CPU, tiles below 4 MiB, vectors all zero, longer than 2 ** 50 or all shorter than 2 ** -50).

        Raises:
            ValueError: If the shape or the dtype is another, ``tile_bytes`` is not positive, or the first pass is not known,
                not to be had on this machine, or has no bounds for these vectors.
            DataError: If a vector holds NaN or an infinity; names the rows.
        """
        if tile_bytes < 1:
            raise ValueError(f"tile_bytes must be positive (came: {tile_bytes})")
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] == 0:
            raise ValueError(f"vectors must have the shape [N, D] with D >= 1 (came: {list(vectors_ND.shape)})")
        own_ND = _finite_float32(vectors_ND, "vectors").clone(memory_format=torch.contiguous_format)
        norms_N = torch.linalg.vector_norm(own_ND, dim=1, dtype=torch.float64)
        max_norm = float(norms_N.max()) if len(norms_N) else 0.0
        chosen, unit = _choose(own_ND, max_norm, tile_bytes, first_pass)
        certified = None if chosen is None else _certified(own_ND, chosen, unit, tile_bytes)
        return cls(own_ND, max_norm, Float64Search(own_ND, tile_bytes), certified, chosen or "none")

    @property
    def num_vectors(self) -> int:
        """How many vectors the index holds (N)."""
        return int(self._vectors_ND.shape[0])

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return int(self._vectors_ND.shape[1])

    @property
    def first_pass(self) -> str:
        """In what products are taken first: float32, bfloat16 or int8; none where all are taken in float64."""
        return self._first_pass

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find the k rows with the highest dot product, for each query: score descending, then row ascending.

        Args:
            queries_BD: Floats, shape ``[B, D]``; B may be 0.
            k: How many rows to return, at least 1; may exceed what exists.
            excluded: Rows in ``[0, N)`` that are not returned, for each query its own (ragged, B rows); in any order, and a row
                may come twice.
            allowed: bool, shape ``[N]``: where False, the row is not returned to any query.

        Returns:
            B rows of k results, on the device of the index. Where fewer exist, the rest is row -1 with score minus infinity.

        Raises:
            ValueError: If a shape, a dtype, k or an excluded row is not as above.
            DataError: If a query holds NaN or an infinity, or is so long that a score could leave the range of float32.
        """
        device = self._vectors_ND.device
        own_BD = self._checked_queries(queries_BD).to(device)
        num_queries = int(own_BD.shape[0])
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be an integer of at least 1 (came: {k!r})")
        if excluded is not None:
            _check_excluded(excluded, num_queries, self.num_vectors)
            excluded = excluded.to(device)
        if allowed is not None:
            if allowed.dtype != torch.bool or allowed.shape != (self.num_vectors,):
                came = f"{allowed.dtype} {list(allowed.shape)}"
                raise ValueError(f"allowed must be bool of shape [{self.num_vectors}], one per vector (came: {came})")
            allowed = allowed.to(device)
        if self._certified is None:
            return self._slow.search(own_BD, k, excluded, allowed)
        result, proved_B = self._certified.search(own_BD, k, excluded, allowed)
        if not bool(proved_B.all()):
            rest = (~proved_B).nonzero()[:, 0]
            mine = None if excluded is None else excluded.take(rest)
            result.rows_BK[rest], result.scores_BK[rest] = self._slow.search(own_BD[rest], k, mine, allowed)
        return result

    def _checked_queries(self, queries_BD: Tensor) -> Tensor:
        if queries_BD.ndim != 2 or queries_BD.shape[1] != self.embedding_dim:
            raise ValueError(f"queries must have the shape [B, {self.embedding_dim}] (came: {list(queries_BD.shape)})")
        own_BD = _finite_float32(queries_BD, "queries")
        norms_B = torch.linalg.vector_norm(own_BD, dim=1, dtype=torch.float64)
        # by Cauchy-Schwarz no score and no partial sum exceeds the product of the norms
        if bool((norms_B * self._max_norm > torch.finfo(torch.float32).max).any()):
            longest = int(norms_B.argmax())
            raise DataError(
                f"scores must fit into float32; query {longest} has the norm {float(norms_B[longest]):.3g} "
                f"and the longest vector {self._max_norm:.3g}: normalise them"
            )
        return own_BD


def _certified(own_ND: Tensor, first_pass: FirstPass, unit: float, tile_bytes: int) -> _Certified:
    if first_pass == "int8" and NativeSearch.can_search(len(own_ND)):
        return NativeSearch(own_ND, unit, tile_bytes)
    return CertifiedSearch(own_ND, first_pass, unit, tile_bytes)


def _choose(own_ND: Tensor, max_norm: float, tile_bytes: int, first_pass: FirstPassChoice) -> tuple[FirstPass | None, float]:
    """The first pass, None for none, and the unit of its bounds."""
    if first_pass not in ("auto", "none", *FIRST_PASSES):
        raise ValueError(f"first_pass must be one of auto, none, {', '.join(FIRST_PASSES)} (came: {first_pass!r})")
    num_vectors, dim = own_ND.shape
    if first_pass == "none" or num_vectors == 0:
        return None, 1.0
    unit = LowPrecision.unit_of(max_norm, dim)
    if own_ND.device.type != "cpu" or tile_bytes < SMALLEST_TILE_BYTES or unit is None:
        if first_pass == "auto":
            return None, 1.0
        came = f"on {own_ND.device.type}, {dim} wide, the longest {max_norm:.3g}, tiles of {tile_bytes:,} bytes"
        raise ValueError(
            f"a first pass in {first_pass} needs vectors on a CPU, at most 65,536 wide, the longest between 2 ** -50 and "
            f"2 ** 50, and tiles of at least {SMALLEST_TILE_BYTES:,} bytes (came: {came}): leave first_pass at auto"
        )
    if first_pass == "auto":
        if num_vectors >= _FEWEST_NATIVE and NativeSearch.is_fast(num_vectors):
            return "int8", unit
        return (quickest_first_pass(dim), unit) if num_vectors >= _FEWEST_VECTORS else (None, 1.0)
    native = first_pass == "int8" and NativeSearch.can_search(num_vectors)
    if not native and not can_multiply(first_pass, dim):
        raise ValueError(f"products in {first_pass} are not exact enough on this machine: leave first_pass at auto")
    return first_pass, unit


def _finite_float32(vectors: Tensor, what: str) -> Tensor:
    if not vectors.is_floating_point():
        raise ValueError(f"{what} must be floats (came: {vectors.dtype})")
    own = vectors.detach().to(torch.float32)
    if not bool(own.isfinite().all()):
        bad = (~own.isfinite()).any(dim=1).nonzero()[:, 0]
        first = ", ".join(str(row) for row in bad[:5].tolist())
        raise DataError(f"{what} must be finite float32; {len(bad):,} of {len(own):,} are not, the first at row {first}")
    return own


def _check_excluded(excluded: Ragged, num_queries: int, num_vectors: int) -> None:
    values, offsets = excluded
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(f"excluded rows must be integers (came: {values.dtype})")
    if excluded.num_rows != num_queries:
        raise ValueError(f"excluded must have one row per query: {num_queries} (came: {excluded.num_rows})")
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(values) or bool((excluded.lengths < 0).any()):
        raise ValueError(f"the offsets of excluded must rise from 0 to {len(values)} (came: {offsets[0]} to {offsets[-1]})")
    outside = values[(values < 0) | (values >= num_vectors)]
    if len(outside):
        raise ValueError(f"excluded rows must be in [0, {num_vectors}) (came: {outside[:5].tolist()})")
