"""What training asks of the loss of an outcome (a rating, a watch time) that a head predicts beside retrieval."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from twotower.losses.cross_entropy import Reduction

__all__ = ["OutcomeLoss"]


class OutcomeLoss(Protocol):
    """A function of what a head gives and what was observed; `squared_error` and `cumulative_cross_entropy` are such."""

    def __call__(
        self, outputs_BO: Tensor, targets_B: Tensor, *, weights_B: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """The loss of some rows.

        Args:
            outputs_BO: Float, shape ``[B, O]``, as the head gives them.
            targets_B: What was observed, shape ``[B]``, in the head's terms; no row is without one.
            weights_B: Weight of each row, not negative, shape ``[B]``. None: 1 each.
            reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.
        """
        ...
