"""Vectors and queries in few bits, and how far a product of theirs can be from the exact score."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from twotower.index.product_precision import ProductPrecision

__all__ = ["FIRST_PASSES", "LANES", "TILE_ROWS", "FirstPass", "LowPrecision", "LowQueries", "multiply", "product_error"]

FirstPass: TypeAlias = Literal["float32", "bfloat16", "int8"]
"""What products are taken in before the few that matter are taken again in float64."""

FIRST_PASSES: tuple[FirstPass, ...] = get_args(FirstPass)

TILE_ROWS = 2048
LANES = 64
"""Rows ``r`` of a tile with the same ``r % LANES`` are a block: maxima of blocks are then maxima of long contiguous lines."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
_OUT = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int32}
_STEPS = 127
_SMALLEST_SCALE = 2.0**-60
_ABSOLUTE = 2.0**-20
_WIDEST_UNIT = 50
_LOST: dict[ProductPrecision, float] = {"highest": 0.0, "high": 2.0**-9, "medium": 2.0**-6}
_WIDEST = 2**16  # the sum of as many products of int8 fits into int32


class LowQueries(NamedTuple):
    """Queries in few bits.

    Attributes:
        low_DB: The queries, transposed, in the dtype of the first pass.
        unit_B: float64, the length of the query.
        scale_B: float64; ``scale * low`` stands for ``query / unit``.
        of_lengths_B: float64; what an error grows by with the length of a vector.
        of_residuals_B: float64; what an error grows by with what a vector lost.
    """

    low_DB: Tensor
    unit_B: Tensor
    scale_B: Tensor
    of_lengths_B: Tensor
    of_residuals_B: Tensor

    def take(self, queries: Tensor) -> LowQueries:
        """The given queries (int64), in that order."""
        return LowQueries(_laid_out(self.low_DB[:, queries]), *(part[queries] for part in self[1:]))


class LowPrecision:
    """A copy of the vectors in few bits (float32: the vectors themselves), and bounds per block.

    Vectors are measured in ``unit``, a power of two not below the longest, each query in its own length, and scores in the
    product of both, so that none exceeds 1. Write ``v`` for a vector, ``q`` for a query, and ``w`` and ``p`` for what
    stands for them. Then

        |q.v - p.w| = |(q - p).v + p.(v - w)| <= |q - p| |v| + |p| |v - w|

    by Cauchy-Schwarz, where the lengths of what was lost, ``q - p`` and ``v - w``, are computed, not estimated. The product is
    itself off: int8 sums whole numbers and is exact; a sum of ``D`` products in float32, in whatever order, is off by at most
    ``(D + 1) 2 ** -24 |p| |w|``, and rounding it to bfloat16 by ``2 ** -8`` of it (Higham, Accuracy and Stability of Numerical
    Algorithms, sections 2.2 and 3.1). The score asked for is rounded to float32: ``2 ** -24`` of it. With the longest vector
    and the greatest loss of a block for ``|v|`` and ``|v - w|``, the error of each product of the block is at most

        of_lengths[query] * lengths[block] + of_residuals[query] * residuals[block] + absolute

    where the last term, ``2 ** -20``, holds numbers too small for a float32, and the rounding of the bounds themselves.

    Args:
        vectors_ND: float32, finite; N at least 1. The copy is on their device.
        kind: The dtype of the copy.
        unit: A power of two not below the longest vector.
        rows_at_once: Rows that are converted at a time, as long as it is a tile or more.

    Attributes:
        scale_M: float64; ``scale * low`` stands for ``vector / unit``. Block ``LANES * t + j`` is lane ``j`` of tile ``t``.
        lengths_M: float64, of the longest vector of the block, at most 1.
        residuals_M: float64, the greatest length of what a vector of the block lost.
    """

    def __init__(self, vectors_ND: Tensor, kind: FirstPass, unit: float, rows_at_once: int = 2**16) -> None:
        num_vectors, dim = vectors_ND.shape
        self.kind: FirstPass = kind
        self.low_ND = vectors_ND if kind == "float32" else vectors_ND.new_empty((num_vectors, dim), dtype=_DTYPES[kind])
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        step = max(1, rows_at_once // TILE_ROWS) * TILE_ROWS
        for start in range(0, num_vectors, step):
            part_TD = vectors_ND[start : start + step] / unit
            parts.append(self._convert(part_TD, start, unit))
        self.scale_M, self.lengths_M, self.residuals_M = (torch.cat(each) for each in zip(*parts, strict=True))
        ones_M = torch.ones_like(self.scale_M)
        limits = torch.stack([ones_M, self.lengths_M, self.residuals_M]) / self.scale_M
        # transposed: of each column the blocks are next to each other
        self._limits_M3 = limits.float().T
        self._bounds_M3 = torch.stack([self.scale_M, self.lengths_M, self.residuals_M]).float().T
        self._absolute = _ABSOLUTE
        self._dim = dim

    @staticmethod
    def unit_of(longest: float, dim: int) -> float | None:
        """The unit for vectors of that width of which the longest is that long; None: beyond what the bounds hold for."""
        if longest == 0.0 or dim > _WIDEST:
            return None
        exponent = math.frexp(longest)[1]
        return 2.0**exponent if abs(exponent) <= _WIDEST_UNIT else None

    @property
    def num_vectors(self) -> int:
        return len(self.low_ND)

    @property
    def out_dtype(self) -> torch.dtype:
        """Of the products."""
        return _OUT[self.kind]

    def queries(self, queries_BD: Tensor, precision: ProductPrecision = "highest") -> LowQueries:
        """Convert queries (float32, finite, none of length zero); products of float32 keep as much as is said."""
        own_BD = queries_BD.double()
        unit_B = torch.linalg.vector_norm(own_BD, dim=1)
        own_BD /= unit_B.unsqueeze(1)
        scale_B = own_BD.abs().amax(dim=1) / _STEPS if self.kind == "int8" else torch.ones_like(unit_B)
        low_BD = own_BD / scale_B.unsqueeze(1)
        low_BD = (low_BD.round_() if self.kind == "int8" else low_BD).to(_DTYPES[self.kind])
        lost_B = torch.linalg.vector_norm(torch.addcmul(own_BD, low_BD.double(), scale_B.unsqueeze(1), value=-1), dim=1)
        # both lengths are 1, but for what was lost
        error = product_error(self.kind, self._dim, precision, truncating=queries_BD.device.type != "cpu")
        rounding_B = (error + 2.0**-23) * (2 + lost_B)
        of_lengths_B, of_residuals_B = lost_B + rounding_B, 1 + lost_B + rounding_B
        return LowQueries(_laid_out(low_BD.T), unit_B, scale_B, of_lengths_B, of_residuals_B)

    @property
    def mask(self) -> float:
        """What a product becomes that must not be found: below every limit."""
        return torch.iinfo(torch.int32).min if self.kind == "int8" else -torch.inf

    def limit_terms(self, low: LowQueries, floor_B: Tensor) -> Tensor:
        """What `limits` needs to know of the queries and their floors, which are scores in the units above; ``[3, B]``."""
        floor_B = floor_B.double() - self._absolute
        return (torch.stack([floor_B, -low.of_lengths_B, -low.of_residuals_B]) / low.scale_B).float()

    def limits(self, terms_3B: Tensor, blocks: slice, out_MB: Tensor) -> Tensor:
        """Products below these belong to scores below the floor.

        Args:
            terms_3B: See `limit_terms`.
            blocks: Which.
            out_MB: float32, ``[M, B]``: is overwritten and returned; for int8 in the range of int32.
        """
        part_M3 = self._limits_M3[blocks]
        torch.mul(part_M3[:, :1], terms_3B[0], out=out_MB)
        out_MB.addcmul_(part_M3[:, 1:2], terms_3B[1]).addcmul_(part_M3[:, 2:], terms_3B[2])
        most = 2.0**30 if self.kind == "int8" else 1e30
        return out_MB.clamp_(-most, most)

    def lower_bounds(self, products_M: Tensor, low: LowQueries, blocks: slice) -> Tensor:
        """What the scores of these products, one for each block, of the one query are at least; float32."""
        scale, of_lengths, of_residuals = (float(each) for each in (low.scale_B, low.of_lengths_B, low.of_residuals_B))
        part_M3 = self._bounds_M3[blocks]
        lower_M = (products_M * part_M3[:, 0]).mul_(scale).sub_(self._absolute)
        return lower_M.sub_(part_M3[:, 1], alpha=of_lengths).sub_(part_M3[:, 2], alpha=of_residuals)

    def upper_bounds(self, products: Tensor, low: LowQueries, blocks: Tensor | slice) -> Tensor:
        """What the scores of products are at most; float32.

        Args:
            products: Of bfloat16 or float32, ``[B, M, G]``: of each query G of each block.
            low: The queries.
            blocks: Which blocks: of all queries the same M, or of each its own, int64 ``[B, M]``.
        """
        bounds = self._bounds_M3[blocks].unsqueeze(-2)
        of_lengths_B11, of_residuals_B11 = (each.float().view(-1, 1, 1) for each in (low.of_lengths_B, low.of_residuals_B))
        errors = bounds[..., 1] * of_lengths_B11 + bounds[..., 2] * of_residuals_B11
        return products.float() * bounds[..., 0] + (errors + self._absolute)

    def _convert(self, part_TD: Tensor, start: int, unit: float) -> tuple[Tensor, Tensor, Tensor]:
        """Write one part of the copy; scales, lengths and residuals of its blocks."""
        num_rows, dim = part_TD.shape
        tiles = -(-num_rows // TILE_ROWS)
        if self.kind == "int8":
            largest_M = _block_maxima(part_TD.abs().amax(dim=1), tiles)
            # in float32 as the division below, so that none rounds to a step above the last
            scale_M = (largest_M.float() / _STEPS).clamp(min=_SMALLEST_SCALE)
            scale_T1 = scale_M.view(tiles, 1, LANES).expand(-1, TILE_ROWS // LANES, -1).reshape(-1, 1)[:num_rows]
            low_TD = (part_TD / scale_T1).round_().clamp_(-_STEPS, _STEPS)
            residual_TD = part_TD - low_TD * scale_T1
        else:
            scale_M = part_TD.new_full((tiles * LANES,), 1.0 if self.kind == "bfloat16" else 1.0 / unit)
            low_TD = part_TD.to(_DTYPES[self.kind])
            residual_TD = part_TD - low_TD.float()
        if self.kind != "float32":
            self.low_ND[start : start + num_rows] = low_TD
        # lengths and residuals are themselves computed in float32
        rounding = (dim + 8) * 2.0**-23
        lengths_M = _block_maxima(part_TD.norm(dim=1), tiles) * (1 + rounding)
        residuals_M = _block_maxima(residual_TD.norm(dim=1), tiles) * (1 + rounding) + 2.0**-22 * lengths_M
        return scale_M.double(), lengths_M, residuals_M


def multiply(low_TD: Tensor, low_DB: Tensor, out_TB: Tensor) -> None:
    """Products of vectors and queries in few bits: int8 into int32, bfloat16 and float32 into their own."""
    if low_TD.dtype == torch.int8:
        torch._int_mm(low_TD, low_DB, out=out_TB)
    else:
        torch.mm(low_TD, low_DB, out=out_TB)


def _laid_out(low_DB: Tensor) -> Tensor:
    """A copy whose strides are those of its shape: a product of int8 reads the stride that `contiguous` leaves to one line."""
    return torch.empty(low_DB.shape, dtype=low_DB.dtype, device=low_DB.device).copy_(low_DB)


def product_error(kind: FirstPass, dim: int, precision: ProductPrecision = "highest", *, truncating: bool = False) -> float:
    """How far a product of such numbers can be off, as a share of the two lengths.

    Args:
        kind: Of the numbers.
        dim: How many are summed.
        precision: How much of a float32 the product keeps: entries are cut to 11 or 8 bits where it is less than all, by which
            each loses at most ``2 ** -10`` or ``2 ** -7`` of itself.
        truncating: Whether sums may be cut off instead of rounded, as accelerators do: then each addition loses twice as much.
    """
    if kind == "int8":
        return 0.0
    lost = 2.0**-8 if kind == "bfloat16" else _LOST[precision]
    return ((dim + 8) * (2.0**-23 if truncating else 2.0**-24) + lost) * 1.01


def _block_maxima(values_T: Tensor, tiles: int) -> Tensor:
    padded = torch.zeros(tiles * TILE_ROWS, dtype=torch.float64, device=values_T.device)
    padded[: len(values_T)] = values_T
    return padded.view(tiles, TILE_ROWS // LANES, LANES).amax(dim=1).view(-1)
