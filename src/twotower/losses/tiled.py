"""Softmax cross-entropy from vectors, a few queries at a time: the matrix of logits is never in memory as a whole.

Value and gradients are made in one pass over tiles that stay in the processor's cache. Written out, the logits of 2,048 queries
and 1,000 candidates would be 8 MB that go to memory and back several times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.losses.logits import Precision
from twotower.losses.masks import Mask, mask_pairs_
from twotower.threads import side_by_side

__all__ = ["fits_tiles", "tiled_cross_entropy"]

_TILE_BYTES = 2**20
# of fewer queries at a time the products are slow: every one of them passes over all candidates
_LEAST_ROWS = 64
# below so many multiplications, which take some milliseconds, threads of their own do not pay
_LEAST_PRODUCTS = 2**25
# what the parts have of their own, all together
_MOST_BYTES = 2**28


def fits_tiles(queries_BD: Tensor) -> bool:
    """Whether tiles pay: on a processor with caches; an accelerator is quicker with one product than with many small ones."""
    return queries_BD.device.type == "cpu" and queries_BD.shape[1] > 0


def tiled_cross_entropy(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    positives_B: Tensor,
    coefficients_B: Tensor,
    *,
    bias_C: Tensor | None = None,
    own_shift_B: Tensor | None = None,
    masked: Mask | None = None,
    tile_bytes: int | None = None,
    precision: Precision = "float32",
) -> Tensor:
    """``sum_i coefficient_i (logsumexp_c(logit_ic) - logit_i,positive)`` with ``logit = Q C^T + bias``.

    The gradient of a logit is ``coefficient (probability - [positive])``; that of the vectors is summed up tile by tile while
    the tile is at hand. Gradients go to the vectors only, once (there is no second derivative).

    Args:
        queries_BD: Float, shape ``[B, D]``, already divided by the temperature.
        candidates_CD: The same type, shape ``[C, D]``.
        positives_B: int64, shape ``[B]``: the column of each query's positive.
        coefficients_B: The same type, shape ``[B]``: what each query's loss counts in the sum.
        bias_C: Added to the logits of each candidate, shape ``[C]``; constant.
        own_shift_B: Added to the logit of each query's positive besides, shape ``[B]``; constant.
        masked: Pairs that must not compete: their probability and gradient are exactly 0. See ``Mask``.
        tile_bytes: Memory for the logits at a time; at least one query's are made. None: a megabyte, or what 64 queries
            need where that is more.
        precision: Of the products; see ``Precision``.

    Returns:
        A scalar.

    Example:
        >>> queries, candidates = torch.zeros(2, 3), torch.ones(5, 3)
        >>> tiled_cross_entropy(queries, candidates, torch.tensor([0, 4]), torch.ones(2)).exp()
        tensor(25.0000)
    """
    bias_C = None if bias_C is None else bias_C.to(queries_BD.dtype)
    own_shift_B = None if own_shift_B is None else own_shift_B.to(queries_BD.dtype)
    loss: Tensor = _TiledCrossEntropy.apply(
        queries_BD, candidates_CD, positives_B, coefficients_B, bias_C, own_shift_B, masked, tile_bytes, precision
    )  # type: ignore[no-untyped-call]
    return loss


class _Products:
    """The products of a few queries with all candidates, and of the gradient of these with either."""

    def __init__(self, queries_BD: Tensor, candidates_CD: Tensor) -> None:
        self.queries_BD, self.candidates_CD = queries_BD, candidates_CD
        self.transposed_DC = candidates_CD.T.contiguous()

    def logits(self, tile: slice, bias_C: Tensor | None, *, out: Tensor) -> Tensor:
        if bias_C is None:
            return torch.mm(self.queries_BD[tile], self.transposed_DC, out=out)
        return torch.addmm(bias_C, self.queries_BD[tile], self.transposed_DC, out=out)

    def pull_back(self, tile: slice, logits_grad_RC: Tensor, queries_grad_RD: Tensor, candidates_grad_CD: Tensor) -> None:
        torch.mm(logits_grad_RC, self.candidates_CD, out=queries_grad_RD)
        candidates_grad_CD.addmm_(logits_grad_RC.T, self.queries_BD[tile])


class _NarrowProducts:
    """As `_Products`, of numbers of 8 bits; what they are added to has all of its own."""

    def __init__(self, queries_BD: Tensor, candidates_CD: Tensor) -> None:
        self.queries_BD, self.candidates_CD = queries_BD.to(torch.bfloat16), candidates_CD.to(torch.bfloat16)

    def logits(self, tile: slice, bias_C: Tensor | None, *, out: Tensor) -> Tensor:
        narrow_RC = torch.mm(self.queries_BD[tile], self.candidates_CD.T)
        return out.copy_(narrow_RC) if bias_C is None else torch.add(narrow_RC, bias_C, out=out)

    def pull_back(self, tile: slice, logits_grad_RC: Tensor, queries_grad_RD: Tensor, candidates_grad_CD: Tensor) -> None:
        narrow_RC = logits_grad_RC.to(torch.bfloat16)
        queries_grad_RD.copy_(narrow_RC @ self.candidates_CD)
        candidates_grad_CD += narrow_RC.T @ self.queries_BD[tile]


class _TiledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries_BD: Tensor,
        candidates_CD: Tensor,
        positives_B: Tensor,
        coefficients_B: Tensor,
        bias_C: Tensor | None,
        own_shift_B: Tensor | None,
        masked: Mask | None,
        tile_bytes: int | None,
        precision: Precision,
    ) -> Tensor:
        num_queries, num_candidates = len(queries_BD), len(candidates_CD)
        row_bytes = max(1, queries_BD.element_size() * num_candidates)
        rows = max(_TILE_BYTES // row_bytes, _LEAST_ROWS) if tile_bytes is None else max(tile_bytes // row_bytes, 1)
        rows = max(1, min(num_queries, rows))
        # each part has tiles, a buffer and a gradient of the candidates of its own, and meets the others at the end
        parts = 1
        if queries_BD.numel() * num_candidates >= _LEAST_PRODUCTS:
            bytes_of_part = candidates_CD.element_size() * (candidates_CD.numel() + rows * num_candidates)
            most = max(1, _MOST_BYTES // bytes_of_part)
            parts = max(1, min(torch.get_num_threads(), -(-num_queries // rows), most))
        products = (_Products if precision == "float32" else _NarrowProducts)(queries_BD, candidates_CD)
        losses_B = torch.empty_like(coefficients_B)
        wanted = any(ctx.needs_input_grad[:2])
        queries_grad_BD = torch.empty_like(queries_BD) if wanted else None
        candidates_grad_PCD = queries_BD.new_zeros(parts, *candidates_CD.shape) if wanted else None
        pairs = _sorted(masked)

        def work(part: int) -> None:
            buffer_RC = queries_BD.new_empty(rows, num_candidates)
            for start in range(part * rows, num_queries, rows * parts):
                tile = slice(start, min(start + rows, num_queries))
                own_R1 = positives_B[tile, None]
                logits_RC = products.logits(tile, bias_C, out=buffer_RC[: tile.stop - tile.start])
                if pairs is not None:
                    mask_pairs_(logits_RC, _of_tile(pairs, tile), positives_B[tile])
                if own_shift_B is not None:
                    logits_RC.scatter_add_(1, own_R1, own_shift_B[tile, None])
                own_logits_R = logits_RC.gather(1, own_R1).squeeze(1)
                highest_R = logits_RC.amax(1)
                probabilities_RC = torch.softmax(logits_RC, 1, out=logits_RC)
                # the largest probability is 1 / sum(exp(logit - highest)), at least 1 / C: its logarithm is never that of 0
                losses_B[tile] = highest_R - probabilities_RC.amax(1).log() - own_logits_R
                if queries_grad_BD is None or candidates_grad_PCD is None:
                    continue
                coefficients_R1 = coefficients_B[tile, None]
                logits_grad_RC = probabilities_RC.mul_(coefficients_R1).scatter_add_(1, own_R1, -coefficients_R1)
                products.pull_back(tile, logits_grad_RC, queries_grad_BD[tile], candidates_grad_PCD[part])

        side_by_side(work, parts)
        if queries_grad_BD is not None and candidates_grad_PCD is not None:
            for part in range(1, parts):
                candidates_grad_PCD[0] += candidates_grad_PCD[part]
            ctx.save_for_backward(queries_grad_BD, candidates_grad_PCD[0])
        return (losses_B * coefficients_B).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries_grad_BD, candidates_grad_CD = ctx.saved_tensors
        return queries_grad_BD * grad, candidates_grad_CD * grad, None, None, None, None, None, None, None


def _sorted(masked: Mask | None) -> Mask | None:
    """Pairs by row, so that those of a tile are a slice."""
    if masked is None or isinstance(masked, Tensor):
        return masked
    rows, columns = masked
    order = rows.argsort()
    return rows[order], columns[order]


def _of_tile(masked: Mask, tile: slice) -> Mask:
    if isinstance(masked, Tensor):
        return masked[tile]
    rows, columns = masked
    first, last = torch.searchsorted(rows, torch.tensor([tile.start, tile.stop])).tolist()
    return rows[first:last] - tile.start, columns[first:last]
