"""Cross-entropy over ordered levels, from cumulative logits: the proportional-odds model of McCullagh (1980)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.losses.cross_entropy import Reduction, reduce_losses

__all__ = ["cumulative_cross_entropy"]


def cumulative_cross_entropy(
    outputs_BO: Tensor, targets_B: Tensor, *, weights_B: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Minus the log-probability of the level that was observed, an `OutcomeLoss`.

    With ``O`` logits a row there are ``O + 1`` levels, and ``P(level > k) = sigmoid(logit_k)``, so that
    ``P(level = k) = sigmoid(logit_{k-1}) - sigmoid(logit_k)``, the first being 1 and the last 0 (McCullagh 1980, eq. 1.2,
    with thresholds ``theta_k`` and ``logit_k = score - theta_k``). The difference is taken in logarithms,
    ``log P = log sigmoid(logit_{k-1}) + log sigmoid(-logit_k) + log(1 - exp(logit_k - logit_{k-1}))``, so that a level that is
    all but impossible has a finite loss and a gradient.

    Args:
        outputs_BO: Cumulative logits, float, shape ``[B, O]``, strictly falling within a row.
        targets_B: int64, shape ``[B]``: the level of each row, in ``[0, O]``.
        weights_B: Weight of each row, not negative, shape ``[B]``. None: 1 each.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.

    Returns:
        Scalar, or ``[B]`` for ``"none"``; float32 at least, also under autocast. Infinite where two logits between which the
        level lies are equal.

    Raises:
        ValueError: If shapes do not fit, or there is nothing to average.

    Example:
        >>> logits = torch.logit(torch.tensor([[0.75, 0.25]]))  # three levels of probability 1/4, 1/2, 1/4
        >>> [round(float(cumulative_cross_entropy(logits, torch.tensor([level])).exp()), 3) for level in range(3)]
        [4.0, 2.0, 4.0]
    """
    if outputs_BO.dim() != 2 or outputs_BO.shape[1] < 1 or targets_B.shape != outputs_BO.shape[:1]:
        raise ValueError(f"outputs [B, O] and targets [B] must fit; came {list(outputs_BO.shape)} and {list(targets_B.shape)}")
    with torch.autocast(device_type=outputs_BO.device.type, enabled=False):
        logits_BO = outputs_BO.to(torch.promote_types(outputs_BO.dtype, torch.float32))
        num_logits = logits_BO.shape[1]
        # the last logit that the level exceeds, and the first that it does not; at the ends a stand-in that is passed over
        below_B = logits_BO.gather(1, (targets_B - 1).clamp(min=0)[:, None]).squeeze(1)
        above_B = logits_BO.gather(1, targets_B.clamp(max=num_logits - 1)[:, None]).squeeze(1)
        has_below_B, has_above_B = targets_B > 0, targets_B < num_logits
        between_B = has_below_B & has_above_B
        zero = logits_BO.new_zeros(())
        losses_B = -torch.where(has_below_B, F.logsigmoid(below_B), zero)
        losses_B = losses_B - torch.where(has_above_B, F.logsigmoid(-above_B), zero)
        # where there is no gap, one of 1 keeps infinities out of the gradient
        gap_B = torch.where(between_B, above_B - below_B, zero - 1)
        losses_B = losses_B - torch.where(between_B, torch.log(-torch.expm1(gap_B)), zero)
        return reduce_losses(losses_B, weights_B, reduction)
