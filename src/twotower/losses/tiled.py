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
from twotower.losses.masks import Mask, pairs_of
from twotower.losses.native_tiles import NativeTiles
from twotower.losses.torch_tiles import TorchTiles
from twotower.threads import side_by_side

__all__ = ["fits_tiles", "tiled_cross_entropy"]

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
        tile_bytes: Memory for the logits at a time; at least one query's are made. None: about as much as the caches hold.
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
        tiles = (NativeTiles.open(queries_BD, candidates_CD, bias_C) if precision == "float32" else None) or TorchTiles(
            queries_BD, candidates_CD, bias_C, precision
        )
        rows = max(1, min(num_queries, tiles.rows(tile_bytes)))
        # each part has tiles, a buffer and a gradient of the candidates of its own, and meets the others at the end
        parts = 1
        if queries_BD.numel() * num_candidates >= _LEAST_PRODUCTS:
            bytes_of_part = candidates_CD.element_size() * (candidates_CD.numel() + rows * num_candidates)
            most = max(1, _MOST_BYTES // bytes_of_part)
            parts = max(1, min(torch.get_num_threads(), -(-num_queries // rows), most))
        losses_B = torch.empty_like(coefficients_B)
        wanted = any(ctx.needs_input_grad[:2])
        gradients = tiles.gradients(parts) if wanted else None
        pairs = None if masked is None else _by_row(masked, num_queries, num_candidates)
        numbers = (positives_B.contiguous(), coefficients_B.contiguous(), own_shift_B)
        num_tiles = -(-num_queries // rows)
        shares = [min(part * num_tiles // parts * rows, num_queries) for part in range(parts + 1)]

        def work(part: int) -> None:
            share = slice(shares[part], shares[part + 1])
            mine = None if gradients is None else (gradients[0], gradients[1][part])
            tiles.work(share, rows, *numbers, pairs, losses_B, mine)

        side_by_side(work, parts)
        if gradients is not None:
            queries_grad_BD, candidates_grad_PCD = gradients
            for part in range(1, parts):
                candidates_grad_PCD[0] += candidates_grad_PCD[part]
            ctx.save_for_backward(tiles.trimmed(queries_grad_BD), tiles.trimmed(candidates_grad_PCD[0]))
        return (losses_B * coefficients_B).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries_grad_BD, candidates_grad_CD = ctx.saved_tensors
        return queries_grad_BD * grad, candidates_grad_CD * grad, None, None, None, None, None, None, None


def _by_row(masked: Mask, num_queries: int, num_candidates: int) -> tuple[Tensor, Tensor]:
    """Where each query's pairs start, ``[B + 1]``, and the columns of all pairs, sorted by row."""
    rows, columns = pairs_of(masked, (num_queries, num_candidates))
    return torch.searchsorted(rows, torch.arange(num_queries + 1)), columns
