"""The tiles of a softmax cross-entropy, worked on by torch: any type of numbers, and products of narrow ones."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.losses.hard_negatives import leave_hard_negatives_
from twotower.losses.logits import Precision
from twotower.losses.masks import mask_pairs_
from twotower.losses.tiles import Asked, Found, number_of_parts
from twotower.threads import side_by_side

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
        rows = max(_TILE_BYTES // row_bytes, _LEAST_ROWS) if tile_bytes is None else tile_bytes // row_bytes
        return max(1, min(len(self._queries_BD), rows))

    def losses(self, asked: Asked, *, gradients: bool, tile_bytes: int | None) -> Found:
        """The losses and, where they are wanted, the gradients.

        Args:
            asked: Of which positives, and how.
            gradients: Whether they are wanted.
            tile_bytes: Memory for the logits at a time; None: about what the caches hold.
        """
        num_queries = len(self._queries_BD)
        rows = self.rows(tile_bytes)
        tiles = -(-num_queries // rows)
        parts = number_of_parts(self._queries_BD, self._candidates_CD, rows)
        found = Found(torch.empty_like(asked.coefficients_B), None, None)
        candidates_grad_PCD = self._queries_BD.new_zeros(parts if gradients else 0, *self._candidates_CD.shape)
        if gradients:
            found = Found(found.losses_B, torch.empty_like(self._queries_BD), candidates_grad_PCD[0])

        def work(part: int) -> None:
            share = slice(part * tiles // parts * rows, min((part + 1) * tiles // parts * rows, num_queries))
            self._part(share, rows, asked, found, candidates_grad_PCD[part] if gradients else None)

        side_by_side(work, parts)
        for part in range(1, len(candidates_grad_PCD)):
            candidates_grad_PCD[0] += candidates_grad_PCD[part]
        return found

    def _part(self, share: slice, rows: int, asked: Asked, found: Found, candidates_grad_CD: Tensor | None) -> None:
        buffer_RC = self._queries_BD.new_empty(rows, len(self._candidates_CD))
        for start in range(share.start, share.stop, rows):
            tile = slice(start, min(start + rows, share.stop))
            own_R1 = asked.positives_B[tile, None]
            logits_RC = self._products.logits(tile, self._bias_C, out=buffer_RC[: tile.stop - tile.start])
            if asked.masked is not None:
                mask_pairs_(logits_RC, _of_tile(asked.masked, tile), asked.positives_B[tile])
            if asked.own_shift_B is not None:
                logits_RC.scatter_add_(1, own_R1, asked.own_shift_B[tile, None])
            own_logits_R = logits_RC.gather(1, own_R1).squeeze(1)
            if asked.hard is not None:
                leave_hard_negatives_(logits_RC, asked.positives_B[tile], asked.hard)
            highest_R = logits_RC.amax(1)
            probabilities_RC = torch.softmax(logits_RC, 1, out=logits_RC)
            # the largest probability is 1 / sum(exp(logit - highest)), at least 1 / C: its logarithm is never that of 0
            found.losses_B[tile] = highest_R - probabilities_RC.amax(1).log() - own_logits_R
            if candidates_grad_CD is None or found.queries_grad_BD is None:
                continue
            coefficients_R1 = asked.coefficients_B[tile, None]
            logits_grad_RC = probabilities_RC.mul_(coefficients_R1).scatter_add_(1, own_R1, -coefficients_R1)
            self._products.pull_back(tile, logits_grad_RC, found.queries_grad_BD[tile], candidates_grad_CD)


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
