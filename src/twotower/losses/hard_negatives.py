"""Keeping, for each query, only the negatives that it finds hardest to tell from its positive."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from twotower.losses.tiles import Hard

__all__ = ["HardNegatives", "keep_hard_negatives", "leave_hard_negatives_"]


class HardNegatives(NamedTuple):
    """What competes with each positive.

    Attributes:
        logits: Shape ``[B, 1 + K]``: the positive in column 0, then the negatives, hardest first.
        counts: Same shape and dtype: how many equal columns each stands for; 1 for the positive, 0 for those left out.
    """

    logits: Tensor
    counts: Tensor


def keep_hard_negatives(
    logits_BC: Tensor,
    positives_B: Tensor,
    num_hard_negatives: int,
    *,
    counts_C: Tensor | None = None,
    mask_accidental_hits: bool = True,
) -> HardNegatives:
    """Keep the ``n`` negatives with the highest logits, as the matrix with one column per row of the batch would.

    The ``n`` are columns of that matrix: a candidate that stands for several of them takes as many places, and the last one
    kept is cut down to the places that are left. Apply it after corrections and masks, so that a masked candidate
    (``-inf``) comes last and adds nothing. Between candidates of equal logits the choice is arbitrary.

    Args:
        logits_BC: Float, shape ``[B, C]``, without the log-counts.
        positives_B: int64, shape ``[B]``.
        num_hard_negatives: At least 1; with as many as there are, nothing is left out.
        counts_C: Whole numbers, at least 1, shape ``[C]``: columns each candidate stands for. None: one each.
        mask_accidental_hits: Whether a query's own positive in other rows of the batch is left out (True), or is a
            negative like the others (False).

    Raises:
        ValueError: If ``num_hard_negatives`` is below 1.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
        >>> kept = keep_hard_negatives(logits, torch.tensor([0]), 3, counts_C=torch.tensor([1, 2, 1, 5]))
        >>> kept.logits.tolist(), kept.counts.tolist()
        ([[1.0, 4.0, 3.0, 2.0, 1.0]], [[1.0, 2.0, 1.0, 0.0, 0.0]])
    """
    if num_hard_negatives < 1:
        raise ValueError(f"num_hard_negatives must be at least 1; came {num_hard_negatives}")
    own_B1 = positives_B[:, None]
    with torch.no_grad():
        columns_BK, kept_BK = _hardest(logits_BC, own_B1, num_hard_negatives, counts_C, own_copies=not mask_accidental_hits)
        kept_BK = torch.cat([torch.ones_like(kept_BK[:, :1]), kept_BK], dim=1)
    return HardNegatives(logits_BC.gather(1, torch.cat([own_B1, columns_BK], dim=1)), kept_BK)


def leave_hard_negatives_(logits_BC: Tensor, positives_B: Tensor, hard: Hard) -> None:
    """The same in place: what is kept has the logarithm of its columns added, and all else becomes ``-inf``.

    A positive gets that of one and of its copies that are kept.

    Args:
        logits_BC: Float, shape ``[B, C]``, without the log-counts; changed.
        positives_B: int64, shape ``[B]``.
        hard: Which are kept.
    """
    own_B1 = positives_B[:, None]
    columns_BK, kept_BK = _hardest(logits_BC, own_B1, hard.most, hard.counts_C, own_copies=hard.own_copies)
    own_kept_B1 = kept_BK.masked_fill(columns_BK != own_B1, 0).sum(1, keepdim=True)
    added_BC = torch.full_like(logits_BC, -torch.inf)
    added_BC.scatter_(1, columns_BK, kept_BK.log()).scatter_(1, own_B1, (1 + own_kept_B1).log())
    logits_BC += added_BC


def _hardest(
    logits_BC: Tensor, own_B1: Tensor, most: int, counts_C: Tensor | None, *, own_copies: bool
) -> tuple[Tensor, Tensor]:
    """The candidates of the highest logits, ``[B, K]``, highest first, and how many columns of the naive matrix each keeps."""
    # one more than asked for: the positive itself may be among the highest, and no copy without it is made
    columns_BK = logits_BC.topk(min(most + 1, logits_BC.shape[1]), dim=1).indices
    is_own_BK = columns_BK == own_B1
    if counts_C is None:
        counts_BK = (~is_own_BK).to(logits_BC.dtype)
    else:
        counts_BK = counts_C.to(logits_BC.dtype)[columns_BK]
        own_BK = counts_BK - 1 if own_copies else torch.zeros_like(counts_BK)
        counts_BK = torch.where(is_own_BK, own_BK, counts_BK)
    places_left_BK = (most - (counts_BK.cumsum(1) - counts_BK)).clamp_(min=0)
    return columns_BK, torch.minimum(counts_BK, places_left_BK)
