"""Exact search by dot product: the k best of all vectors. The reference that other indexes are held to."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index.allowed_rows import allowed_rows, count_allowed, take_vectors
from twotower.index.arguments import check_search, checked_vectors, finite_float32
from twotower.index.certified_search import SMALLEST_TILE_BYTES, CertifiedSearch
from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.device_search import DeviceSearch
from twotower.index.float64_search import Float64Search
from twotower.index.given_rows import best_of_rows
from twotower.index.low_precision import FIRST_PASSES, FirstPass, LowPrecision
from twotower.index.native_search import NativeSearch
from twotower.index.quickest import can_multiply, quickest_first_pass
from twotower.types import Ragged

__all__ = ["ExactIndex", "FirstPassChoice", "exact_on_cpu"]

FirstPassChoice: TypeAlias = FirstPass | Literal["auto", "none"]
"""Products in few bits before those in float64; ``auto``: what is quickest here; ``none``: all in float64."""

_Certified: TypeAlias = CertifiedSearch | NativeSearch | DeviceSearch
_TILE_BYTES, _DEVICE_TILE_BYTES = 2**24, 2**29
"""What a CPU's caches hold; what makes an accelerator's time long beside that of asking it."""
_FEWEST_VECTORS, _FEWEST_NATIVE = 2**14, 2**10
"""From how many on a first pass pays: of torch, half as many take a query alone twice as long with it, a batch two thirds of
the time; the kernel's takes three quarters and half of the time."""
_MASKED_NS, _MASK_NS, _GIVEN_NS, _BUILT_NS = 0.43, 5.0, 100.0, 3000.0
"""Of a search where some vectors are allowed, of 64 entries, a million of them: of a product that a mask goes with, of a
vector's share in the mask, of a product in float64 with what was gathered, of a vector's share in building an index."""


class ExactIndex:
    """The k best of all vectors by dot product; built by :meth:`build`.

    Scores are sums in float64 rounded to float32. Summed in float32, the same vector at two places of the catalogue can
    score differently in the last bit, and a query alone differently than in a batch, so that ties would be decided by the
    arithmetic. Ties go to the lowest row.

    Most vectors need no such score: products in few bits, and a bound on their error, prove that they are not among the best
    (`twotower.index.native_search.NativeSearch` in C, `twotower.index.certified_search.CertifiedSearch` without a compiler,
    `twotower.index.device_search.DeviceSearch` on an accelerator).
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
    def build(cls, vectors_ND: Tensor, *, tile_bytes: int | None = None, first_pass: FirstPassChoice = "auto") -> Self:
        """Build an index over a copy of the vectors.

        Args:
            vectors_ND: Floats of any width (kept as float32), shape ``[N, D]``; N may be 0.
            tile_bytes: A bound on each tensor that a search makes beside its results, as long as it is enough for some
                thousand scores and some vectors. With a first pass, each thread that works on a large batch makes its own.
                None: 16 MiB on a CPU, 512 MiB on another device.
            first_pass: In what products are taken before the few that matter are taken again in float64: the answers are the
                same. ``int8`` keeps a copy of the vectors of a quarter of their size, ``bfloat16`` of half, ``float32`` none,
                and each a sample of every 9th or 17th besides; int8 as a kernel in C, 5 bytes a vector. ``auto`` takes that
                kernel where a processor's whole numbers make it fast, else what is quickest where the vectors are, as measured
                once in a process (float32 or bfloat16 on another device than a CPU), and none where it wouldn't pay (few
                vectors), or bounds are not known (tiles below 4 MiB, vectors all zero, longer than 2 ** 50 or all shorter than
                2 ** -50).

        Raises:
            ValueError: If the shape or the dtype is another, ``tile_bytes`` is not positive, or the first pass is not known,
                not to be had on this machine, or has no bounds for these vectors.
            DataError: If a vector holds NaN or an infinity; names the rows.
        """
        if tile_bytes is None:
            tile_bytes = _TILE_BYTES if vectors_ND.device.type == "cpu" else _DEVICE_TILE_BYTES
        if tile_bytes < 1:
            raise ValueError(f"tile_bytes must be positive (came: {tile_bytes})")
        own_ND = checked_vectors(vectors_ND).clone(memory_format=torch.contiguous_format)
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
    def vectors(self) -> Tensor:
        """The vectors as they are kept: float32, shape ``[N, D]``, contiguous; not to be changed."""
        return self._vectors_ND

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
        own_BD = self.checked(queries_BD, k, excluded, allowed).to(device)
        excluded = None if excluded is None else excluded.to(device)
        allowed = None if allowed is None else allowed.to(device)
        if allowed is not None and not isinstance(self._certified, DeviceSearch):
            way = _way(self.num_vectors, count_allowed(allowed), len(own_BD))
            if way == "given" and device.type == "cpu":
                rows_A = allowed_rows(allowed)
                return best_of_rows(self._vectors_ND, own_BD, rows_A.expand(len(own_BD), -1), k, excluded)
            if way == "built":
                return self._search_built(own_BD, k, excluded, allowed)
        if self._certified is None:
            return self._slow.search(own_BD, k, excluded, allowed)
        result, proved_B = self._certified.search(own_BD, k, excluded, allowed)
        if not bool(proved_B.all()):
            rest = (~proved_B).nonzero()[:, 0].to(device)
            mine = None if excluded is None else excluded.take(rest)
            result.rows_BK[rest], result.scores_BK[rest] = self._slow.search(own_BD[rest], k, mine, allowed)
        return result

    def best_of(
        self, queries_BD: Tensor, rows_BS: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find the k best of the rows that are given for each query, with the scores and the order of `search`.

        Args:
            queries_BD: Floats, shape ``[B, D]``; B may be 0.
            rows_BS: int64, shape ``[B, S]``; -1 stands for no row, and no row may be there twice for a query.
            k: As for `search`, and so are the next two.
            excluded: Rows of each query.
            allowed: A mask over the vectors.

        Returns:
            B rows of k results, on the device of the index. Where fewer are given, the rest is row -1 with score minus
            infinity.

        Raises:
            ValueError: As of `search`; or if the rows are not int64, of another shape, or not in ``[-1, N)``.
            DataError: As of `search`.
        """
        device = self._vectors_ND.device
        own_BD = self.checked(queries_BD, k, excluded, allowed).cpu()
        if rows_BS.dtype != torch.int64 or rows_BS.ndim != 2 or len(rows_BS) != len(own_BD):
            came = f"{rows_BS.dtype} {list(rows_BS.shape)}"
            raise ValueError(f"rows must be int64 of shape [{len(own_BD)}, S], a list per query (came: {came})")
        own_BS = rows_BS.cpu()
        if own_BS.numel() and not -1 <= int(own_BS.min()) <= int(own_BS.max()) < self.num_vectors:
            came = f"{int(own_BS.min())} to {int(own_BS.max())}"
            raise ValueError(f"rows must be in [-1, {self.num_vectors}) (came: {came})")
        left_out, mask = None if excluded is None else excluded.to("cpu"), None if allowed is None else allowed.cpu()
        found = best_of_rows(self._vectors_ND.cpu(), own_BD, own_BS, k, left_out, mask)
        return SearchResult(found.rows_BK.to(device), found.scores_BK.to(device))

    def _search_built(self, own_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor) -> SearchResult:
        """Search an index of the allowed vectors alone."""
        rows_A = allowed_rows(allowed)
        index = ExactIndex.build(take_vectors(self._vectors_ND, rows_A))
        if excluded is not None:
            places = torch.searchsorted(rows_A, excluded.values.to(torch.int64)).clamp(max=len(rows_A) - 1)
            excluded = Ragged(places, excluded.offsets).keep(rows_A[places] == excluded.values)
        found = index.search(own_BD, k, excluded=excluded)
        rows_BK = torch.full_like(found.rows_BK, NO_ROW)
        return SearchResult(torch.where(found.rows_BK >= 0, rows_A[found.rows_BK.clamp(min=0)], rows_BK), found.scores_BK)

    def checked(self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None) -> Tensor:
        """The queries as float32, where they are; arguments and errors as of `search`."""
        sizes = {"num_vectors": self.num_vectors, "embedding_dim": self.embedding_dim}
        own_BD = check_search(queries_BD, k, excluded, allowed, finite=False, **sizes)
        norms_B = torch.linalg.vector_norm(own_BD, dim=1, dtype=torch.float64)
        # by Cauchy-Schwarz no score and no partial sum exceeds the product of the norms; those of what is not finite are not
        if not bool(((norms_B * self._max_norm <= torch.finfo(torch.float32).max) & norms_B.isfinite()).all()):
            finite_float32(own_BD, "queries")
            longest = int(norms_B.argmax())
            raise DataError(
                f"scores must fit into float32; query {longest} has the norm {float(norms_B[longest]):.3g} "
                f"and the longest vector {self._max_norm:.3g}: normalise them"
            )
        return own_BD


def exact_on_cpu(vectors_ND: Tensor | ExactIndex) -> ExactIndex:
    """An exact index of the vectors on the CPU, or the one that is given.

    Raises:
        ValueError: If it is not on the CPU; or as of `ExactIndex.build`, and so is DataError.
    """
    if isinstance(vectors_ND, Tensor):
        return ExactIndex.build(vectors_ND.cpu())
    if vectors_ND.vectors.device.type != "cpu":
        raise ValueError(f"the exact index must be on the CPU (came: {vectors_ND.vectors.device})")
    return vectors_ND


def _way(num_vectors: int, num_allowed: int, num_queries: int) -> Literal["masked", "given", "built"]:
    """What takes the least time: to leave out of all what is not allowed, to score all that is, or to build an index of it."""
    masked = num_vectors * (_MASK_NS + _MASKED_NS * num_queries)
    given = _GIVEN_NS * num_allowed * num_queries
    built = _BUILT_NS * num_allowed + _MASKED_NS * num_allowed * num_queries
    if given <= min(masked, built):
        return "given"
    return "built" if built < masked else "masked"


def _certified(own_ND: Tensor, first_pass: FirstPass, unit: float, tile_bytes: int) -> _Certified:
    if own_ND.device.type != "cpu":
        return DeviceSearch(own_ND, first_pass, unit, tile_bytes)
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
    on_cpu = own_ND.device.type == "cpu"
    if tile_bytes < SMALLEST_TILE_BYTES or unit is None or (first_pass == "int8" and not on_cpu):
        if first_pass == "auto":
            return None, 1.0
        came = f"on {own_ND.device.type}, {dim} wide, the longest {max_norm:.3g}, tiles of {tile_bytes:,} bytes"
        raise ValueError(
            f"a first pass in {first_pass} needs vectors{' on a CPU,' if first_pass == 'int8' else ''} at most 65,536 wide, "
            f"the longest between 2 ** -50 and 2 ** 50, and tiles of at least {SMALLEST_TILE_BYTES:,} bytes (came: {came}): "
            "leave first_pass at auto"
        )
    if first_pass == "auto":
        if on_cpu and num_vectors >= _FEWEST_NATIVE and NativeSearch.is_fast(num_vectors):
            return "int8", unit
        return (quickest_first_pass(dim, own_ND.device), unit) if num_vectors >= _FEWEST_VECTORS else (None, 1.0)
    native = first_pass == "int8" and NativeSearch.can_search(num_vectors)
    if not native and not can_multiply(first_pass, dim, own_ND.device):
        raise ValueError(f"products in {first_pass} are not exact enough on this machine: leave first_pass at auto")
    return first_pass, unit
