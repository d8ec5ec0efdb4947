"""Exact search in two passes: products in few bits leave few vectors to score in float64, and bounds prove that it's enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.float64_search import LeaveOut
from twotower.index.in_threads import in_threads, shared_out
from twotower.index.low_precision import LANES, TILE_ROWS, FirstPass, LowPrecision, LowQueries, multiply
from twotower.index.product_precision import product_precision
from twotower.types import Ragged

__all__ = ["SMALLEST_TILE_BYTES", "CertifiedSearch"]

SMALLEST_TILE_BYTES = 2**22
Array: TypeAlias = "np.ndarray[Any, Any]"
"""Short lists are numpy's: it finds, divides, sorts and partitions them several times faster than torch."""

_SAMPLE_STRIDES = (9, 17)
_MANY_VECTORS = 2**19
_ALONE = 3
_TOGETHER = 512
_OF_A_THREAD = 64
_PRODUCTS_AT_ONCE = 2**20
_ATTEMPTS = 3
_SHORTEST_QUERY = 2.0**-50
_GROUP = TILE_ROWS // LANES
_OUT_OF_REACH = 1e30
_GATHERED_BYTES = 2**20


class _Workspace:
    """Tensors that every tile writes anew: to allocate them costs as much as to fill them."""

    def __init__(self, rows: int, num_queries: int, dtype: torch.dtype) -> None:
        self.products_TB = torch.empty(rows, num_queries, dtype=dtype)
        self.limits_MB = torch.empty(rows // _GROUP, num_queries)
        self.whole_limits_MB = torch.empty(rows // _GROUP, num_queries, dtype=torch.int32)
        self.reach_TB = torch.empty(rows, num_queries, dtype=torch.bool)


class CertifiedSearch:
    """Finds what `twotower.index.float64_search.Float64Search` finds, for the queries for which it can prove that.

    1. A *floor* for each query: a score that at least k vectors probably reach. For a batch it is read off every 9th or 17th
       vector; for a query alone, it is the k-th greatest lower bound among the blocks (a block holds a vector at least as good
       as the lower bound of its maximum), which is certain.
    2. All products in few bits, tile by tile, and while a tile is in cache, which of them may belong to a score that reaches
       the floor.
    3. These are scored in float64. If the k-th best of them reaches the floor, the floor was one, and nothing that was passed
       over can be among the best: its score is below. Otherwise again, with the k-th best as the floor, which is certain.

    Bounds are those of `twotower.index.low_precision.LowPrecision`, on scores as they are rounded to float32, so that ties are
    decided as in float64. A query is left to the other search where bounds leave too many vectors, as when most are tied, where
    fewer than k may be returned, and where it is so short that scores leave the range of float32.

    Args:
        vectors_ND: float32, finite, on the CPU.
        first_pass: The dtype of the products.
        unit: See `LowPrecision`.
        tile_bytes: A bound on each tensor that a search makes, at least ``SMALLEST_TILE_BYTES``; a large batch is shared out to
            as many threads as torch has, and each makes its own.
    """

    def __init__(self, vectors_ND: Tensor, first_pass: FirstPass, unit: float, tile_bytes: int) -> None:
        rows_at_once = tile_bytes // (4 * vectors_ND.shape[1])
        self._vectors_ND = vectors_ND
        self._tile_bytes = tile_bytes
        self._low = LowPrecision(vectors_ND, first_pass, unit, rows_at_once)
        self._stride = _SAMPLE_STRIDES[len(vectors_ND) >= _MANY_VECTORS]
        self._sample = LowPrecision(vectors_ND[:: self._stride].contiguous(), first_pass, unit, rows_at_once)
        self._unit = unit
        self._products_at_once = min(_PRODUCTS_AT_ONCE, tile_bytes // 8)

    def search(
        self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[SearchResult, Tensor]:
        """See `twotower.index.VectorIndex.search`; all is checked, float32 and on the CPU.

        Returns:
            Rows and scores, ``[B, k]``, and which queries are proved (bool, ``[B]``); the rows of the others mean nothing.
        """
        num_queries = len(queries_BD)
        rows_BK = torch.full((num_queries, k), NO_ROW, dtype=torch.int64)
        scores_BK = torch.full((num_queries, k), -torch.inf)
        proved_B = torch.zeros(num_queries, dtype=torch.bool)
        if self._low.kind == "float32" and product_precision(queries_BD.device) != "highest":
            return SearchResult(rows_BK, scores_BK), proved_B  # the bounds are not those of such products
        alone = num_queries <= _ALONE
        usable_B = torch.linalg.vector_norm(queries_BD, dim=1, dtype=torch.float64) >= _SHORTEST_QUERY
        if alone:
            ranks_B = torch.zeros(num_queries)
            usable_B &= 4 * k * _GROUP <= len(self._vectors_ND)
        else:
            ranks_B = _rank(k + (torch.zeros(num_queries) if excluded is None else excluded.lengths), self._stride)
            usable_B &= ranks_B * (2 * 8 * self._stride) <= len(self._vectors_ND)
        usable = usable_B.nonzero()[:, 0]

        def work(part: Tensor) -> None:
            mine = None if excluded is None else excluded.take(part)
            own_BD = queries_BD[part]
            if alone:
                found, proved = self._alone(own_BD, k, mine, allowed)
            else:
                found, proved = self._together(own_BD, k, ranks_B[part], mine, allowed)
            rows_BK[part], scores_BK[part], proved_B[part] = found.rows_BK, found.scores_BK, proved

        if alone:
            for part in usable.split(1) if len(usable) else ():
                work(part)
        else:
            in_threads(work, shared_out(usable, self._at_once(k), _OF_A_THREAD))
        return SearchResult(rows_BK, scores_BK), proved_B

    def _alone(
        self, queries_1D: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[SearchResult, Tensor]:
        """One query: bound by memory, so all vectors are read once, and the floor comes from the same products."""
        low = self._low.queries(queries_1D)
        best = np.empty(0, dtype=np.float32)
        found: list[Array] = []
        most = self._most(1, k)
        space = self._workspace(self._tile_bytes // 8, 1)
        floor_B = torch.full((1,), -torch.inf, dtype=torch.float64)
        for start, products_TB in self._tiles(self._low, low, space.products_TB, excluded, allowed):
            maxima_M = products_TB.view(-1, _GROUP, LANES).amax(dim=1).view(-1)
            blocks = slice(start // _GROUP, start // _GROUP + len(maxima_M))
            best = np.concatenate([best, self._low.lower_bounds(maxima_M, low, blocks).numpy()])
            if len(best) >= k:
                best = np.partition(best, len(best) - k)[len(best) - k :]
                floor_B[0] = float(best[0])
            limits_M1 = self._low.limits(self._low.limit_terms(low, floor_B), blocks, space.limits_MB[: len(maxima_M)])
            reach = (maxima_M >= limits_M1[:, 0]).nonzero()
            rows_PG = reach // LANES * TILE_ROWS + reach % LANES + torch.arange(_GROUP) * LANES
            found.append(np.sort(rows_PG[products_TB[:, 0][rows_PG] >= limits_M1[reach[:, 0]]].numpy() + start))
            if sum(len(part) for part in found) > most:
                return _nothing(1, k)
        return self._scored(queries_1D, low, k, floor_B, found)

    def _together(
        self, queries_BD: Tensor, k: int, ranks_B: Tensor, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[SearchResult, Tensor]:
        low = self._low.queries(queries_BD)
        floor_B = self._guessed_floor(low, ranks_B, allowed)
        result, proved_B = _nothing(len(queries_BD), k)
        todo = (floor_B > -1.5).nonzero()[:, 0]
        for _ in range(_ATTEMPTS):
            if len(todo) == 0:
                break
            mine = None if excluded is None else excluded.take(todo)
            part_low = low if len(todo) == len(queries_BD) else low.take(todo)
            found, given_up = self._pass(part_low, k, floor_B[todo], mine, allowed)
            part, proved = self._scored(queries_BD[todo], part_low, k, floor_B[todo], found)
            proved &= ~given_up
            result.rows_BK[todo], result.scores_BK[todo], proved_B[todo] = part.rows_BK, part.scores_BK, proved
            floor_B[todo] = part.scores_BK[:, -1].double() / (part_low.unit_B * self._unit)
            todo = todo[~proved & ~given_up & (part.rows_BK[:, -1] != NO_ROW)]
        return result, proved_B

    def _guessed_floor(self, low: LowQueries, ranks_B: Tensor, allowed: Tensor | None) -> Tensor:
        """For each query the given rank among maxima of small blocks of a sample; in the units of `LowPrecision`."""
        parts = []
        num_queries = len(low.unit_B)
        group = 8 if self._sample.num_vectors < 2 * _GROUP * 8 * int(ranks_B.max()) else _GROUP
        space = self._workspace(self._products_at_once, num_queries)
        own = None if allowed is None else allowed[:: self._stride]
        for start, products_TB in self._tiles(self._sample, low, space.products_TB, None, own):
            maxima_XB = products_TB.view(-1, group, TILE_ROWS // group, num_queries).amax(dim=1)
            tiles = len(maxima_XB)
            scale_X11 = self._sample.scale_M[start // _GROUP :][: tiles * LANES].float().view(tiles, 1, LANES, 1)
            parts.append((maxima_XB.view(tiles, -1, LANES, num_queries) * scale_X11).view(-1, num_queries))
        maxima_XB = torch.cat(parts)
        fewer = len(maxima_XB) // (16 * int(ranks_B.max()))
        if fewer > 1:
            maxima_XB = maxima_XB[: len(maxima_XB) // fewer * fewer].view(fewer, -1, num_queries).amax(dim=0)
        sorted_BX = np.sort(maxima_XB.T.contiguous().numpy(), axis=1)
        at_B = torch.from_numpy(sorted_BX).gather(1, (sorted_BX.shape[1] - ranks_B).unsqueeze(1))[:, 0]
        return at_B.double() * low.scale_B

    def _pass(
        self, low: LowQueries, k: int, floor_B: Tensor, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[list[Array], Tensor]:
        """What may reach the floor, and the queries (bool) for which that is too much."""
        num_queries = len(floor_B)
        given_up = torch.zeros(num_queries, dtype=torch.bool)
        most = self._most(num_queries, k)
        floor_B = floor_B.clone()
        terms = self._low.limit_terms(low, floor_B)
        found: list[Array] = []
        fresh = 0
        space = self._workspace(self._products_at_once, num_queries)
        for start, products_TB in self._tiles(self._low, low, space.products_TB, excluded, allowed):
            part = self._reaching(space, products_TB, terms, start)
            found.append(part)
            fresh += len(part)
            if fresh > most * num_queries // 8:
                fresh = 0
                counts = sum(np.bincount(each % num_queries, minlength=num_queries) for each in found)
                given_up |= torch.from_numpy(np.asarray(counts) > most)
                floor_B[given_up] = _OUT_OF_REACH
                terms = self._low.limit_terms(low, floor_B)
                if bool(given_up.any()):
                    found = [each[~given_up.numpy()[each % num_queries]] for each in found]
                if bool(given_up.all()):
                    break
        return found, given_up

    def _tiles(
        self, of: LowPrecision, low: LowQueries, products: Tensor, excluded: Ragged | None, allowed: Tensor | None
    ) -> Iterator[tuple[int, Tensor]]:
        """First rows and products of whole tiles, as many at a time as the buffer holds; rows that must not be found masked."""
        mask = of.mask
        leave_out = None if excluded is None else LeaveOut(excluded)
        for start in range(0, of.num_vectors, len(products)):
            stop = min(start + len(products), of.num_vectors)
            products_TB = products[: -(-(stop - start) // TILE_ROWS) * TILE_ROWS]
            multiply(of.low_ND[start:stop], low.low_DB, products_TB[: stop - start])
            products_TB[stop - start :] = mask
            if allowed is not None:
                products_TB[: stop - start].index_fill_(0, (~allowed[start:stop]).nonzero()[:, 0], mask)
            if leave_out is not None:
                queries, rows = leave_out.places(start, stop)
                products_TB[rows, queries] = mask
            yield start, products_TB

    def _workspace(self, products: int, num_queries: int) -> _Workspace:
        """For so many products at a time, in whole tiles."""
        tiles = min(products // (num_queries * TILE_ROWS), -(-len(self._vectors_ND) // TILE_ROWS))
        return _Workspace(tiles * TILE_ROWS, num_queries, self._low.out_dtype)

    def _reaching(self, space: _Workspace, products_TB: Tensor, terms: Tensor, start: int) -> Array:
        """The places of products that reach the limit of their block: ``row * B + query``, ascending."""
        num_rows, num_queries = products_TB.shape
        blocks = slice(start // _GROUP, (start + num_rows) // _GROUP)
        limits_MB = self._low.limits(terms, blocks, space.limits_MB[: num_rows // _GROUP])
        if products_TB.dtype == torch.int32:
            # cut off towards zero, a positive limit is lower, and a negative one is met by the same whole numbers
            limits_MB = space.whole_limits_MB[: len(limits_MB)].copy_(limits_MB)
        reach_TB = space.reach_TB[:num_rows]
        of_tiles = (-1, _GROUP, LANES * num_queries), (-1, 1, LANES * num_queries)
        if products_TB.dtype == torch.bfloat16:
            torch.ge(products_TB.view(of_tiles[0]), limits_MB.view(of_tiles[1]), out=reach_TB.view(of_tiles[0]))
        else:
            products, limits, reach = (each.numpy() for each in (products_TB, limits_MB, reach_TB))
            np.greater_equal(products.reshape(of_tiles[0]), limits.reshape(of_tiles[1]), out=reach.reshape(of_tiles[0]))
        # few of them do: look at eight at a time first
        eights = reach_TB.view(-1).view(torch.int64).numpy()
        some = np.flatnonzero(eights != 0)
        within = np.flatnonzero(eights[some].view(np.bool_))
        return (some.take(within >> 3) << 3) + (within & 7) + start * num_queries

    def _most(self, num_queries: int, k: int) -> int:
        """How many vectors a query may leave to be scored."""
        return min(self._tile_bytes // (8 * num_queries), 8192 + 8 * k)

    def _at_once(self, k: int) -> int:
        """How many queries, so that what each is expected to leave fits thrice."""
        expected = 3 * self._stride * int(_rank(torch.tensor([k]), self._stride))
        return max(1, min(_TOGETHER, self._products_at_once // TILE_ROWS, self._tile_bytes // (16 * expected)))

    def _scored(
        self, queries_BD: Tensor, low: LowQueries, k: int, floor_B: Tensor, parts: list[Array]
    ) -> tuple[SearchResult, Tensor]:
        """The best of what was found, in float64, and for which queries these are the best of all."""
        num_queries = len(queries_BD)
        places = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        rows = places // num_queries
        queries = places - rows * num_queries
        order = np.argsort(queries.astype(np.uint16), kind="stable")  # of 16 bits: sorted by digits
        rows_BC = _side_by_side(queries[order], rows[order], num_queries)
        if rows_BC.shape[1] < k:
            return _nothing(num_queries, k)
        best = _best(rows_BC, self._exact(queries_BD, rows_BC), k)
        return best, best.scores_BK[:, -1].double() >= floor_B * (low.unit_B * self._unit)

    def _exact(self, queries_BD: Tensor, rows_BC: Array) -> Array:
        """Scores as in float64, minus infinity where there is no row."""
        vectors_ND, own_BD = self._vectors_ND.numpy(), queries_BD.double().numpy()
        num_queries, width = rows_BC.shape
        scores_BC = np.empty((num_queries, width), dtype=np.float32)
        step = max(1, min(self._tile_bytes, _GATHERED_BYTES) // (4 * own_BD.shape[1] * width))
        for start in range(0, num_queries, step):
            part = slice(start, start + step)
            vectors_BCD = vectors_ND.take(rows_BC[part], axis=0, mode="clip")
            scores_BC[part] = np.einsum("bcd,bd->bc", vectors_BCD, own_BD[part])
        scores_BC[rows_BC == NO_ROW] = -np.inf
        return scores_BC


def _rank(wanted_B: Tensor, stride: int) -> Tensor:
    """A rank in the sample that in 99 of 100 cases is below the wanted rank among all: by deviations of a Poisson count."""
    expected_B = wanted_B.double() / stride
    return (expected_B + 2.3 * expected_B.sqrt() + 1.5).ceil().long()


def _side_by_side(queries: Array, rows: Array, num_queries: int) -> Array:
    """Rows of queries, ascending by query, as one line each, in that order, filled up on the right."""
    counts = np.bincount(queries, minlength=num_queries)
    width = max(1, int(counts.max()))
    # by how much the first of each query moves
    moved = np.arange(num_queries) * width - (counts.cumsum() - counts)
    rows_BC = np.full(num_queries * width, NO_ROW)
    rows_BC[np.arange(len(queries)) + np.repeat(moved, counts)] = rows
    return rows_BC.reshape(num_queries, width)


def _best(rows_BC: Array, scores_BC: Array, k: int) -> SearchResult:
    """The k best, by score and then by column: sorted as one whole number of both, which is fast."""
    bits_BC = (scores_BC + np.float32(0.0)).view(np.int32)  # minus zero becomes zero: as a tie, not as less
    ascending_BC = (bits_BC ^ ((bits_BC >> 31) & 0x7FFFFFFF)).astype(np.int64)
    keys_BC = (~ascending_BC << 32) | np.arange(rows_BC.shape[1])
    keys_BC.sort(axis=1)
    columns_BK = keys_BC[:, :k] & 0xFFFFFFFF
    scores_BK = torch.from_numpy(np.take_along_axis(scores_BC, columns_BK, axis=1)) + 0.0
    rows_BK = torch.from_numpy(np.take_along_axis(rows_BC, columns_BK, axis=1))
    return SearchResult(rows_BK, scores_BK)


def _nothing(num_queries: int, k: int) -> tuple[SearchResult, Tensor]:
    rows_BK = torch.full((num_queries, k), NO_ROW, dtype=torch.int64)
    return SearchResult(rows_BK, torch.full((num_queries, k), -torch.inf)), torch.zeros(num_queries, dtype=torch.bool)
