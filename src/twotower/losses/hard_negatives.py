"""Keeping, for each query, only the negatives that it finds hardest to tell from its positive."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["HardNegatives", "keep_hard_negatives"]


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
        # one more than asked for: the positive itself may be among the highest, and no copy without it is made
        columns_BK = logits_BC.topk(min(num_hard_negatives + 1, logits_BC.shape[1]), dim=1).indices
        is_own_BK = columns_BK == own_B1
        if counts_C is None:
            counts_BK = (~is_own_BK).to(logits_BC.dtype)
        else:
            counts_BK = counts_C.to(logits_BC.dtype)[columns_BK]
            own_BK = torch.zeros_like(counts_BK) if mask_accidental_hits else counts_BK - 1
            counts_BK = torch.where(is_own_BK, own_BK, counts_BK)
        places_left_BK = (num_hard_negatives - (counts_BK.cumsum(1) - counts_BK)).clamp_(min=0)
        kept_BK = torch.minimum(counts_BK, places_left_BK)
        kept_BK = torch.cat([torch.ones_like(kept_BK[:, :1]), kept_BK], dim=1)
    return HardNegatives(logits_BC.gather(1, torch.cat([own_B1, columns_BK], dim=1)), kept_BK)
