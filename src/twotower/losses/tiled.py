"""Softmax cross-entropy from vectors, a few queries at a time: the matrix of logits is never in memory as a whole.

Value and gradients are made in one pass over tiles that stay in the processor's cache. Written out, the logits of 2,048 queries
and 1,000 candidates would be 8 MB that go to memory and back several times. On an accelerator tiles are large, and so is what
they save: the logits of 65,536 queries and as many candidates are 17 GB, and eager PyTorch keeps three such matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.losses.device_tiles import DeviceTiles
from twotower.losses.logits import Precision
from twotower.losses.masks import Mask, pairs_of
from twotower.losses.native_tiles import NativeTiles
from twotower.losses.tiles import Asked, Hard
from twotower.losses.torch_tiles import TorchTiles

__all__ = ["fits_tiles", "tiled_cross_entropy"]


def fits_tiles(queries_BD: Tensor) -> bool:
    """Whether there is anything to multiply: vectors of no width are left to the loss that is written out."""
    return queries_BD.shape[1] > 0


def tiled_cross_entropy(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    positives_B: Tensor,
    coefficients_B: Tensor,
    *,
    bias_C: Tensor | None = None,
    own_shift_B: Tensor | None = None,
    masked: Mask | None = None,
    hard: Hard | None = None,
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
        bias_C: Added to the logits of each candidate, shape ``[C]``; constant. ``-inf`` for one that is none, as masked for
            every query.
        own_shift_B: Added to the logit of each query's positive besides, shape ``[B]``; constant.
        masked: Pairs that must not compete: their probability and gradient are exactly 0. See ``Mask``.
        hard: Which negatives are kept, in a tile at a time; their counts are not in ``bias_C`` then, and nothing is shifted.
            None: all.
        tile_bytes: Memory for the logits at a time; at least one query's are made. None: about as much as the caches hold; on
            an accelerator 128 MiB.
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
        queries_BD, candidates_CD, positives_B, coefficients_B, bias_C, own_shift_B, masked, hard, tile_bytes, precision
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
        hard: Hard | None,
        tile_bytes: int | None,
        precision: Precision,
    ) -> Tensor:
        on_host = queries_BD.device.type == "cpu"
        by_row = _by_row(masked, len(queries_BD), len(candidates_CD)) if on_host and masked is not None else None
        tiles: NativeTiles | TorchTiles | DeviceTiles | None = NativeTiles.open(queries_BD, candidates_CD, bias_C, precision)
        if not on_host:
            tiles = DeviceTiles(queries_BD, candidates_CD, bias_C, masked, precision)
        found = (tiles or TorchTiles(queries_BD, candidates_CD, bias_C, precision)).losses(
            Asked(positives_B, coefficients_B, own_shift_B, by_row, hard),
            gradients=any(ctx.needs_input_grad[:2]),
            tile_bytes=tile_bytes,
        )
        if found.queries_grad_BD is not None:
            ctx.save_for_backward(found.queries_grad_BD, found.candidates_grad_CD)
        return (found.losses_B * coefficients_B).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries_grad_BD, candidates_grad_CD = ctx.saved_tensors
        # 1 is what most losses get; on an accelerator a look at it would make the host wait
        if grad.device.type != "cpu" or float(grad) != 1:
            queries_grad_BD, candidates_grad_CD = queries_grad_BD * grad, candidates_grad_CD * grad
        return queries_grad_BD, candidates_grad_CD, None, None, None, None, None, None, None, None


def _by_row(masked: Mask, num_queries: int, num_candidates: int) -> tuple[Tensor, Tensor]:
    """Where each query's pairs start, ``[B + 1]``, and the columns of all pairs, sorted by row."""
    rows, columns = pairs_of(masked, (num_queries, num_candidates))
    return torch.searchsorted(rows, torch.arange(num_queries + 1)), columns
