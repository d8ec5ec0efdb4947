"""Exact search in two passes where waiting is what costs: the same operations whatever the numbers are, and one question."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.low_precision import LANES, TILE_ROWS, FirstPass, LowPrecision, LowQueries, multiply, product_error
from twotower.index.product_precision import ProductPrecision, product_precision
from twotower.types import Ragged

__all__ = ["DeviceSearch"]

_GROUP = TILE_ROWS // LANES
_TOGETHER = 64
"""Queries that share one reading of the vectors, before the vectors are taken in parts."""
_SHORTEST_QUERY = 2.0**-50
_TRIED_ROWS = 64
_PLACE_BYTES = 8
_LOOSE = 2.0**-12
_PRODUCT_BYTES = {"float32": 4, "bfloat16": 2}


class _Candidates(NamedTuple):
    """What a first pass leaves, in no order.

    Attributes:
        rows_BC: int64.
        uppers_BC: float32, what their scores are at most, in the units of `LowPrecision`; minus infinity: must not be found.
        lost_B: float32, what the scores of all others are at most.
        sound_B: bool: whether products were as exact as the bounds take them to be.
    """

    rows_BC: Tensor
    uppers_BC: Tensor
    lost_B: Tensor
    sound_B: Tensor


class DeviceSearch:
    """Finds what `twotower.index.float64_search.Float64Search` finds, for the queries for which it can prove that.

    As in `twotower.index.certified_search.CertifiedSearch`, products in few bits leave few vectors to score in float64, and the
    bounds are those of `twotower.index.low_precision.LowPrecision`. But nothing depends on a number that the device would have
    to tell the host first:

    1. All products in few bits, of as many queries at a time as there is room for, and the maxima of blocks. Of the blocks
       that may hold the greatest scores so many are kept as vectors are to be scored, and of their vectors the same number.
    2. These are scored in float64, and the k best of them chosen.
    3. A query is proved where its k-th score exceeds what the scores of all that was passed over are at most. That is what the
       host asks, once.

    Queries that are not proved in bfloat16 are searched once more in float32, whose bounds are narrower. Those that are left
    have more ties than there is room for, or are so short that scores leave the range of float32.

    How exact the device's products are is not taken for granted. While the process lets float32 be multiplied in fewer bits
    (`torch.set_float32_matmul_precision`, ``torch.backends.cuda.matmul.fp32_precision``), bounds are those of fewer bits. And
    in every product of every search some rows, spread over the tile, are compared with float64: the product may be off by the
    rounding of one sum in float32 and, for bfloat16, of its result. Queries for which that does not hold, as where partial sums
    are rounded, are not proved.

    Args:
        vectors_ND: float32, finite, at least one; kept, not copied.
        first_pass: float32 or bfloat16, the dtype of the products.
        unit: See `LowPrecision`.
        tile_bytes: A bound on each tensor that a search makes, at least
            `twotower.index.certified_search.SMALLEST_TILE_BYTES`.
    """

    def __init__(self, vectors_ND: Tensor, first_pass: FirstPass, unit: float, tile_bytes: int) -> None:
        kinds: list[FirstPass] = ["bfloat16", "float32"] if first_pass == "bfloat16" else ["float32"]
        self._vectors_ND = vectors_ND
        self._unit = unit
        self._tile_bytes = tile_bytes
        self._passes = [LowPrecision(vectors_ND, kind, unit) for kind in kinds]

    def search(
        self, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[SearchResult, Tensor]:
        """See `twotower.index.VectorIndex.search`; all is checked, float32 and on the device of the vectors.

        Returns:
            Rows and scores, ``[B, k]``, and which queries are proved (bool, ``[B]``, on the CPU); the rows of the others mean
            nothing.
        """
        norms_B = torch.linalg.vector_norm(queries_BD, dim=1, dtype=torch.float64)
        usable_B = norms_B >= _SHORTEST_QUERY
        queries_BD = torch.where(usable_B.unsqueeze(1), queries_BD, torch.ones_like(queries_BD))
        result, proved_B = self._search(self._passes[0], queries_BD, k, excluded, allowed)
        usable, proved = torch.stack([usable_B, proved_B & usable_B]).cpu()
        for low in self._passes[1:]:
            todo = (usable & ~proved).nonzero()[:, 0]
            if len(todo) == 0:
                break
            rest = todo.to(queries_BD.device)
            mine = None if excluded is None else excluded.take(rest)
            again, proved_R = self._search(low, queries_BD[rest], k, mine, allowed)
            result.rows_BK[rest], result.scores_BK[rest] = again
            proved[todo] = proved_R.cpu()
        return result, proved

    def _search(
        self, low: LowPrecision, queries_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None
    ) -> tuple[SearchResult, Tensor]:
        num_queries, device = len(queries_BD), queries_BD.device
        rows_BK = torch.full((num_queries, k), NO_ROW, dtype=torch.int64, device=device)
        scores_BK = torch.full((num_queries, k), -torch.inf, device=device)
        proved_B = torch.zeros(num_queries, dtype=torch.bool, device=device)
        precision = product_precision(device)
        kept = self._kept(low, k, precision)
        at_once, tile_rows = self._plan(low, num_queries, kept)
        if at_once == 0:
            return SearchResult(rows_BK, scores_BK), proved_B
        # one more, where masks put what is not in the tile
        products = torch.empty(tile_rows * at_once + 1, dtype=low.out_dtype, device=device)
        left_out = None if excluded is None else _Places(excluded)
        for start in range(0, num_queries, at_once):
            part = slice(start, start + at_once)
            own = low.queries(queries_BD[part], precision)
            found = self._first_pass(low, own, kept, precision, products, tile_rows, left_out, start, allowed)
            best = self._best(queries_BD[part], found, k)
            width = best.rows_BK.shape[1]
            rows_BK[part, :width], scores_BK[part, :width] = best
            least_B = scores_BK[part, -1].double() / (own.unit_B * self._unit)
            proved_B[part] = found.sound_B & ((found.lost_B.double() < least_B) | (found.lost_B == -torch.inf))
        return SearchResult(rows_BK, scores_BK), proved_B

    def _kept(self, low: LowPrecision, k: int, precision: ProductPrecision) -> int:
        """How many vectors of each query to score: the wider the bounds, the more may be among the best."""
        error = product_error(low.kind, self._vectors_ND.shape[1], precision, truncating=True)
        k = min(k, low.num_vectors)
        return min(_whole_tiles(low.num_vectors), 2 * k + 128 if error > _LOOSE else k + 64)

    def _plan(self, low: LowPrecision, num_queries: int, kept: int) -> tuple[int, int]:
        """How many queries and rows to take at a time; no queries where there is no room for one."""
        of_query = kept * _PLACE_BYTES * max(_GROUP, self._vectors_ND.shape[1])
        room = self._tile_bytes // _PRODUCT_BYTES[low.kind] - 1
        all_rows = _whole_tiles(low.num_vectors)
        at_once = min(num_queries, self._tile_bytes // of_query, max(_TOGETHER, room // all_rows))
        return at_once, min(all_rows, room // max(1, at_once) // TILE_ROWS * TILE_ROWS)

    def _first_pass(
        self,
        low: LowPrecision,
        own: LowQueries,
        kept: int,
        precision: ProductPrecision,
        products: Tensor,
        tile_rows: int,
        left_out: _Places | None,
        first_query: int,
        allowed: Tensor | None,
    ) -> _Candidates:
        num_queries = own.low_DB.shape[1]
        found = None
        for start in range(0, low.num_vectors, tile_rows):
            stop = min(start + tile_rows, low.num_vectors)
            padded = _whole_tiles(stop - start)
            products_TB = products[: padded * num_queries].view(padded, num_queries)
            multiply(low.low_ND[start:stop], own.low_DB, products_TB[: stop - start])
            sound_B = self._sound(low, own, precision, products_TB[: stop - start], start)
            products_TB[stop - start :].fill_(-torch.inf)
            if allowed is not None:
                products_TB[: stop - start].masked_fill_(~allowed[start:stop].unsqueeze(1), -torch.inf)
            if left_out is not None:
                places = left_out.within(range(start, stop), first_query, num_queries, len(products) - 1)
                products.index_fill_(0, places, -torch.inf)
            tile = _best_of_tile(low, own, products_TB, start, kept)._replace(sound_B=sound_B)
            found = tile if found is None else _merged(found, tile, kept)
        assert found is not None
        return found

    def _sound(
        self, low: LowPrecision, own: LowQueries, precision: ProductPrecision, products_TB: Tensor, start: int
    ) -> Tensor:
        """Whether some rows' products are what one sum in float32 can be, rounded once; bool ``[B]``."""
        num_rows = len(products_TB)
        step = -(-num_rows // _TRIED_ROWS)
        rows_RD, own_DB = low.low_ND[start : start + num_rows : step].double(), own.low_DB.double()
        found_RB, dim = products_TB[::step].double(), rows_RD.shape[1]
        lengths_RB = torch.outer(rows_RD.norm(dim=1), own_DB.norm(dim=0))
        rounding = product_error("bfloat16", dim) - product_error("float32", dim) if low.kind == "bfloat16" else 0.0
        tiny = 2.0**-40 * (1.0 if low.kind == "bfloat16" else self._unit)
        allowed_RB = lengths_RB * product_error("float32", dim, "highest" if rounding else precision, truncating=True)
        allowed_RB.add_(found_RB.abs(), alpha=rounding).add_(tiny)
        return ((found_RB - rows_RD @ own_DB).abs() <= allowed_RB).all(dim=0)

    def _best(self, queries_BD: Tensor, found: _Candidates, k: int) -> SearchResult:
        """The k best of what was found, or all of it: by score, then by row."""
        vectors_BCD = self._vectors_ND[found.rows_BC.clamp(max=len(self._vectors_ND) - 1)].double()
        scores_BC = torch.bmm(vectors_BCD, queries_BD.double().unsqueeze(2)).squeeze(2).float()
        # minus zero becomes zero: as a tie, not as less
        scores_BC = (scores_BC + 0.0).masked_fill(found.uppers_BC == -torch.inf, -torch.inf)
        bits_BC = scores_BC.view(torch.int32)
        ascending_BC = (bits_BC ^ ((bits_BC >> 31) & 0x7FFFFFFF)).long()
        # one whole number of both, so that none is tied: what topk does with ties, it promises to nobody
        keys_BC = (~ascending_BC << 32) | found.rows_BC
        keys_BK, columns_BK = keys_BC.topk(min(k, keys_BC.shape[1]), dim=1, largest=False)
        scores_BK = scores_BC.gather(1, columns_BK)
        return SearchResult((keys_BK & 0xFFFFFFFF).masked_fill(scores_BK == -torch.inf, NO_ROW), scores_BK)


class _Places:
    """Where what each query leaves out lies among the products of a tile."""

    def __init__(self, excluded: Ragged) -> None:
        self._rows = excluded.values.long()
        numbers = torch.arange(len(self._rows), device=self._rows.device)
        self._queries = torch.searchsorted(excluded.offsets, numbers, right=True) - 1

    def within(self, rows: range, first_query: int, num_queries: int, outside: int) -> Tensor:
        """Places (int64) in a tile of those rows and queries, one beside the other; ``outside`` for what is in none."""
        row, query = self._rows - rows.start, self._queries - first_query
        inside = (row >= 0) & (row < len(rows)) & (query >= 0) & (query < num_queries)
        return torch.where(inside, row * num_queries + query, outside)


def _whole_tiles(num_rows: int) -> int:
    return -(-num_rows // TILE_ROWS) * TILE_ROWS


def _best_of_tile(low: LowPrecision, own: LowQueries, products_TB: Tensor, start: int, kept: int) -> _Candidates:
    """The rows with the greatest upper bounds, as many as are kept."""
    num_rows, num_queries = products_TB.shape
    device = products_TB.device
    num_blocks = num_rows // _GROUP
    maxima_MB = products_TB.view(-1, _GROUP, LANES * num_queries).amax(dim=1).view(num_blocks, num_queries)
    first_block = start // _GROUP
    of_blocks_BM = low.upper_bounds(maxima_MB.T.unsqueeze(2), own, slice(first_block, first_block + num_blocks)).squeeze(2)
    _, blocks_BM, _ = _greatest(of_blocks_BM, kept)  # each has a row as great: what is lost here is below what is lost there
    first_BM = blocks_BM // LANES * TILE_ROWS + blocks_BM % LANES
    rows_BMG = first_BM.unsqueeze(2) + torch.arange(_GROUP, device=device) * LANES
    queries_B11 = torch.arange(num_queries, device=device).view(-1, 1, 1)
    products_BMG = products_TB.view(-1)[rows_BMG * num_queries + queries_B11]
    of_rows_BMG = low.upper_bounds(products_BMG, own, blocks_BM + first_block)
    uppers_BC, places_BC, lost_B = _greatest(of_rows_BMG.flatten(1), kept)
    rows_BC = rows_BMG.flatten(1).gather(1, places_BC) + start
    return _Candidates(rows_BC, uppers_BC, lost_B, torch.ones_like(lost_B, dtype=torch.bool))


def _merged(one: _Candidates, other: _Candidates, kept: int) -> _Candidates:
    uppers_BC, places_BC, lost_B = _greatest(torch.cat([one.uppers_BC, other.uppers_BC], dim=1), kept)
    rows_BC = torch.cat([one.rows_BC, other.rows_BC], dim=1).gather(1, places_BC)
    lost_B = torch.stack([one.lost_B, other.lost_B, lost_B]).amax(dim=0)
    return _Candidates(rows_BC, uppers_BC, lost_B, one.sound_B & other.sound_B)


def _greatest(values_BM: Tensor, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """The greatest, where they are, and what the others do not exceed: the least of the greatest."""
    if values_BM.shape[1] <= kept:
        places_BM = torch.arange(values_BM.shape[1], device=values_BM.device).expand(values_BM.shape)
        return values_BM, places_BM, torch.full_like(values_BM[:, 0], -torch.inf)
    found = values_BM.topk(kept, dim=1, sorted=False)
    return found.values, found.indices, found.values.amin(dim=1)
