"""What every way of working on the tiles of a softmax cross-entropy is asked, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Asked", "Found", "Hard", "number_of_parts"]

# below so many multiplications, which take some milliseconds, threads of their own do not pay
_LEAST_PRODUCTS = 2**25
# what the parts have of their own, all together
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Hard:
    """Negatives that are kept: the columns with the highest logits. See `keep_hard_negatives`.

    Attributes:
        most: How many columns, at least 1.
        counts_C: Float, shape ``[C]``: how many columns each candidate stands for; None: one each.
        own_copies: Whether the other columns of a query's own positive are negatives like the others.
    """

    most: int
    counts_C: Tensor | None = None
    own_copies: bool = False


@dataclass(frozen=True)
class Asked:
    """Of a loss over ``B`` queries and ``C`` candidates.

    Attributes:
        positives_B: int64, shape ``[B]``: the column of each query's positive.
        coefficients_B: Float, shape ``[B]``: what each query's loss counts.
        own_shift_B: Float, shape ``[B]``: added to the logit of each query's positive; or None.
        masked: int64: where each query's columns start, shape ``[B + 1]``, and all columns, query after query; or None.
        hard: Which negatives are kept; None: all. Then ``own_shift_B`` is None.
    """

    positives_B: Tensor
    coefficients_B: Tensor
    own_shift_B: Tensor | None
    masked: tuple[Tensor, Tensor] | None
    hard: Hard | None = None


@dataclass(frozen=True)
class Found:
    """The losses, and what their sum, each times its coefficient, changes by.

    Attributes:
        losses_B: Float, shape ``[B]``; without coefficients.
        queries_grad_BD: Shape ``[B, D]``; None where it was not wanted.
        candidates_grad_CD: Shape ``[C, D]``; None where it was not wanted.
    """

    losses_B: Tensor
    queries_grad_BD: Tensor | None
    candidates_grad_CD: Tensor | None


def number_of_parts(queries_BD: Tensor, candidates_CD: Tensor, rows: int) -> int:
    """In how many parts, each with a buffer and a gradient of the candidates of its own, tiles are worked on side by side.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: Float, shape ``[C, D]``.
        rows: Queries of a tile.
    """
    if queries_BD.numel() * len(candidates_CD) < _LEAST_PRODUCTS:
        return 1
    bytes_of_part = candidates_CD.element_size() * (candidates_CD.numel() + rows * len(candidates_CD))
    most = max(1, _MOST_BYTES // bytes_of_part)
    return max(1, min(torch.get_num_threads(), -(-len(queries_BD) // rows), most))
