"""The tiles of a softmax cross-entropy, worked on by torch: any type of numbers, and products of narrow ones."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.losses.logits import Precision
from twotower.losses.masks import mask_pairs_

__all__ = ["TorchTiles"]

_TILE_BYTES = 2**20
# of fewer queries at a time the products are slow: every one of them passes over all candidates
_LEAST_ROWS = 64


class TorchTiles:
    """Queries and candidates, in tiles of some queries and all candidates.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: The same type, shape ``[C, D]``.
        bias_C: Added to the logits of each candidate, shape ``[C]``, or None.
        precision: Of the products.
    """

    def __init__(self, queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None, precision: Precision) -> None:
        self._queries_BD, self._candidates_CD, self._bias_C = queries_BD, candidates_CD, bias_C
        self._products = (_Products if precision == "float32" else _NarrowProducts)(queries_BD, candidates_CD)

    def rows(self, tile_bytes: int | None) -> int:
        """How many queries a tile has, of whose logits so many bytes may be in memory; None: what the caches like."""
        row_bytes = max(1, self._queries_BD.element_size() * len(self._candidates_CD))
        return max(_TILE_BYTES // row_bytes, _LEAST_ROWS) if tile_bytes is None else max(tile_bytes // row_bytes, 1)

    def gradients(self, parts: int) -> tuple[Tensor, Tensor]:
        """Room for the gradients of the queries and, for each part, of the candidates, which start as 0."""
        return torch.empty_like(self._queries_BD), self._queries_BD.new_zeros(parts, *self._candidates_CD.shape)

    def trimmed(self, gradient: Tensor) -> Tensor:
        """A gradient in the width of its vectors."""
        return gradient

    def work(
        self,
        rows: slice,
        tile_rows: int,
        positives_B: Tensor,
        coefficients_B: Tensor,
        own_shift_B: Tensor | None,
        masked: tuple[Tensor, Tensor] | None,
        losses_B: Tensor,
        gradients: tuple[Tensor, Tensor] | None,
    ) -> None:
        """Losses of some queries, and what they add to the gradients.

        Args:
            rows: Which queries.
            tile_rows: Of a tile.
            positives_B: int64, shape ``[B]``.
            coefficients_B: Float, shape ``[B]``.
            own_shift_B: Float, shape ``[B]``, or None.
            masked: int64: where each query's columns start, shape ``[B + 1]``, and all columns; or None.
            losses_B: Written.
            gradients: Of the queries, shape ``[B, D]``, written; of the candidates, shape ``[C, D]``, added to.
        """
        buffer_RC = self._queries_BD.new_empty(min(tile_rows, rows.stop - rows.start), len(self._candidates_CD))
        for start in range(rows.start, rows.stop, tile_rows):
            tile = slice(start, min(start + tile_rows, rows.stop))
            own_R1 = positives_B[tile, None]
            logits_RC = self._products.logits(tile, self._bias_C, out=buffer_RC[: tile.stop - tile.start])
            if masked is not None:
                mask_pairs_(logits_RC, _of_tile(masked, tile), positives_B[tile])
            if own_shift_B is not None:
                logits_RC.scatter_add_(1, own_R1, own_shift_B[tile, None])
            own_logits_R = logits_RC.gather(1, own_R1).squeeze(1)
            highest_R = logits_RC.amax(1)
            probabilities_RC = torch.softmax(logits_RC, 1, out=logits_RC)
            # the largest probability is 1 / sum(exp(logit - highest)), at least 1 / C: its logarithm is never that of 0
            losses_B[tile] = highest_R - probabilities_RC.amax(1).log() - own_logits_R
            if gradients is None:
                continue
            coefficients_R1 = coefficients_B[tile, None]
            logits_grad_RC = probabilities_RC.mul_(coefficients_R1).scatter_add_(1, own_R1, -coefficients_R1)
            self._products.pull_back(tile, logits_grad_RC, gradients[0][tile], gradients[1])


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


def _of_tile(masked: tuple[Tensor, Tensor], tile: slice) -> tuple[Tensor, Tensor]:
    starts, columns = masked
    first, *_, last = starts[tile.start : tile.stop + 1].tolist()
    counts = starts[tile.start + 1 : tile.stop + 1] - starts[tile.start : tile.stop]
    return torch.repeat_interleave(counts), columns[first:last]
