"""Squared error: the loss of a number that is predicted."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.losses.cross_entropy import Reduction, reduce_losses

__all__ = ["squared_error"]


def squared_error(
    outputs_BO: Tensor, targets_B: Tensor, *, weights_B: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """``(output - target)^2`` of each row, an `OutcomeLoss`.

    Of a standardised target (mean 0, variance 1) a mean of 1 is what predicting the mean for everybody costs.

    Args:
        outputs_BO: Float, shape ``[B, 1]``.
        targets_B: Float, shape ``[B]``, finite.
        weights_B: Weight of each row, not negative, shape ``[B]``. None: 1 each.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.

    Returns:
        Scalar, or ``[B]`` for ``"none"``; float32 at least, also under autocast.

    Raises:
        ValueError: If shapes do not fit, or there is nothing to average.

    Example:
        >>> squared_error(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 2.0]), reduction="none")
        tensor([1., 4.])
    """
    if outputs_BO.dim() != 2 or outputs_BO.shape[1] != 1 or targets_B.shape != outputs_BO.shape[:1]:
        raise ValueError(f"outputs [B, 1] and targets [B] must fit; came {list(outputs_BO.shape)} and {list(targets_B.shape)}")
    with torch.autocast(device_type=outputs_BO.device.type, enabled=False):
        dtype = torch.promote_types(outputs_BO.dtype, torch.float32)
        losses_B = (outputs_BO.squeeze(1).to(dtype) - targets_B.to(dtype)).square()
        return reduce_losses(losses_B, weights_B, reduction)
