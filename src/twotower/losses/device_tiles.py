"""The tiles of a softmax cross-entropy on an accelerator: few and large, and made without asking anything of the device.

What runs, and in which shapes, follows from the shapes alone, so that a step with this loss can be recorded once and replayed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.losses.hard_negatives import leave_hard_negatives_
from twotower.losses.logits import Precision
from twotower.losses.masks import Mask, check_mask
from twotower.losses.tiles import Asked, Found

__all__ = ["DeviceTiles"]

# Every kernel works some tenths of a millisecond on so much, many times what it takes to start one; 65,536 queries and as many
# candidates are 128 tiles, whose logits together would be 17 GB.
_TILE_BYTES = 2**27
# of fewer queries at a time the products are slow: every one of them passes over all candidates
_LEAST_ROWS = 64
# beside the logits, for what is written nowhere; the logits still start where fast kernels want them to
_SPARE = 64


class DeviceTiles:
    """Queries and candidates, in tiles of some queries and all candidates; a batch of one tile is one product.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: The same type, shape ``[C, D]``.
        bias_C: Added to the logits of each candidate, shape ``[C]``, or None. ``-inf`` for one that is none: its probability
            and gradient are exactly 0.
        masked: Pairs that must not compete, or None. A query's own positive is passed over.
        precision: Of the products.

    Raises:
        ValueError: If the mask does not fit.
    """

    def __init__(
        self, queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None, masked: Mask | None, precision: Precision
    ) -> None:
        shape = (len(queries_BD), len(candidates_CD))
        self._queries_BD, self._num_candidates = queries_BD, len(candidates_CD)
        self._products = (_Products if precision == "float32" else _NarrowProducts)(queries_BD, candidates_CD, bias_C)
        self._masked_BC: Tensor | None = None
        self._places: Tensor | None = None
        if masked is not None:
            check_mask(masked, shape)
            if isinstance(masked, Tensor):
                self._masked_BC = masked
            else:  # where each pair is in the matrix, laid out row after row
                rows, columns = masked
                self._places = rows.to(torch.int64) * self._num_candidates + columns

    def rows(self, tile_bytes: int | None) -> int:
        """How many queries a tile has, of whose logits so many bytes may be in memory; None: what keeps a device busy."""
        row_bytes = max(1, self._queries_BD.element_size() * self._num_candidates)
        most = max(_TILE_BYTES // row_bytes, _LEAST_ROWS) if tile_bytes is None else max(1, tile_bytes // row_bytes)
        num_queries = max(1, len(self._queries_BD))
        tiles = -(-num_queries // most)
        return -(-num_queries // tiles)

    def losses(self, asked: Asked, *, gradients: bool, tile_bytes: int | None) -> Found:
        """The losses and, where they are wanted, the gradients.

        Args:
            asked: Of which positives, and how; without ``masked``.
            gradients: Whether they are wanted.
            tile_bytes: Memory for the logits at a time; None: 128 MiB, or more for those of 64 queries.
        """
        num_queries, rows = len(self._queries_BD), self.rows(tile_bytes)
        found = Found(torch.empty_like(asked.coefficients_B), None, None)
        if gradients:
            queries_grad_BD = torch.empty_like(self._queries_BD)
            found = Found(found.losses_B, queries_grad_BD, self._queries_BD.new_zeros(self._products.candidates_shape))
        buffer = self._queries_BD.new_empty(rows * self._num_candidates + 2 * _SPARE)
        for start in range(0, num_queries, rows):
            self._tile(slice(start, min(start + rows, num_queries)), buffer, asked, found)
        return found

    def _tile(self, tile: slice, buffer: Tensor, asked: Asked, found: Found) -> None:
        """Losses and gradients of some queries.

        The gradient of a logit is its exponential over the sum of its row's, less 1 at the positive, times the coefficient. The
        matrix is left at the exponentials, less the sum at the positive, and the factor that is a row's own meets it in the
        products: with the gradients of the queries, and with the queries themselves.
        """
        own_R1 = asked.positives_B[tile, None]
        size = (tile.stop - tile.start) * self._num_candidates
        logits_RC = buffer[_SPARE : _SPARE + size].view(-1, self._num_candidates)
        self._products.logits(tile, out=logits_RC)
        self._mask_(logits_RC, tile, own_R1, buffer)
        if asked.own_shift_B is not None:
            logits_RC.scatter_add_(1, own_R1, asked.own_shift_B[tile, None])
        own_logits_R1 = logits_RC.gather(1, own_R1)
        if asked.hard is not None:
            leave_hard_negatives_(logits_RC, asked.positives_B[tile], asked.hard)
        highest_R1 = logits_RC.amax(1, keepdim=True)
        exponentials_RC = logits_RC.sub_(highest_R1).exp_()
        sums_R1 = exponentials_RC.sum(1, keepdim=True)
        found.losses_B[tile] = (highest_R1 + sums_R1.log() - own_logits_R1).squeeze(1)
        if found.queries_grad_BD is None or found.candidates_grad_CD is None:
            return
        factors_R1 = asked.coefficients_B[tile, None] / sums_R1
        differences_RC = exponentials_RC.scatter_add_(1, own_R1, -sums_R1)
        self._products.pull_back(tile, differences_RC, factors_R1, found.queries_grad_BD[tile], found.candidates_grad_CD)

    def _mask_(self, logits_RC: Tensor, tile: slice, own_R1: Tensor, buffer: Tensor) -> None:
        if self._masked_BC is None and self._places is None:
            return
        own_logits_R1 = logits_RC.gather(1, own_R1)
        if self._masked_BC is not None:
            logits_RC.masked_fill_(self._masked_BC[tile], -torch.inf)
        if self._places is not None:
            # how many pairs are the tile's nobody knows here: those of others fall on the places next to its first and last
            places = self._places + (_SPARE - tile.start * self._num_candidates)
            buffer.index_fill_(0, places.clamp_(_SPARE - 1, _SPARE + logits_RC.numel()), -torch.inf)
        logits_RC.scatter_(1, own_R1, own_logits_R1)


class _Products:
    """The products of a few queries with all candidates, and of the gradient of these with either."""

    def __init__(self, queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None) -> None:
        self.queries_BD, self.candidates_CD, self.bias_C = queries_BD, candidates_CD, bias_C
        self.candidates_shape = candidates_CD.shape

    def logits(self, tile: slice, *, out: Tensor) -> None:
        if self.bias_C is None:
            torch.mm(self.queries_BD[tile], self.candidates_CD.T, out=out)
        else:
            torch.addmm(self.bias_C, self.queries_BD[tile], self.candidates_CD.T, out=out)

    def pull_back(
        self, tile: slice, grad_RC: Tensor, factors_R1: Tensor, queries_grad_RD: Tensor, candidates_grad_CD: Tensor
    ) -> None:
        torch.mm(grad_RC, self.candidates_CD, out=queries_grad_RD).mul_(factors_R1)
        candidates_grad_CD.addmm_(grad_RC.T, self.queries_BD[tile] * factors_R1)


class _NarrowProducts:
    """As `_Products`, of numbers of 8 bits; what comes out has more where the device can, and what is added up has all."""

    def __init__(self, queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None) -> None:
        self.queries_BD, self.bias_C, self.candidates_shape = queries_BD, bias_C, candidates_CD.shape
        self.narrow_BD, self.narrow_CD = queries_BD.to(torch.bfloat16), candidates_CD.to(torch.bfloat16)

    def logits(self, tile: slice, *, out: Tensor) -> None:
        _narrow_product(self.narrow_BD[tile], self.narrow_CD.T, out=out)
        if self.bias_C is not None:
            out += self.bias_C

    def pull_back(
        self, tile: slice, grad_RC: Tensor, factors_R1: Tensor, queries_grad_RD: Tensor, candidates_grad_CD: Tensor
    ) -> None:
        narrow_RC = grad_RC.to(torch.bfloat16)
        _narrow_product(narrow_RC, self.narrow_CD, out=queries_grad_RD).mul_(factors_R1)
        narrow_RD = (self.queries_BD[tile] * factors_R1).to(torch.bfloat16)
        candidates_grad_CD += _narrow_product(narrow_RC.T, narrow_RD, out=torch.empty_like(candidates_grad_CD))


def _narrow_product(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    """Their product as it was added up, in float32, where CUDA's own libraries take it; elsewhere it comes rounded."""
    if left.is_cuda and torch.version.cuda is not None and out.dtype == torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32, out=out)
    return out.copy_(torch.mm(left, right))
