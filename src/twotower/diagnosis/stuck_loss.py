"""A training loss that is still where knowing nothing puts it: the logarithm of the number of candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["TrainLoss", "check_train_loss"]

_GAIN = 0.02
"""Least part of the loss of knowing nothing that a trained model has taken off. Popularity alone takes off 7 in 100 on
MovieLens-100K; a model that has not moved takes off nothing, up to the noise of the batches."""


@dataclass(frozen=True)
class TrainLoss:
    """The retrieval loss on train rows, per row.

    Attributes:
        measured: Of the model as it is, in nats, mean over some train batches and their rows.
        uninformed: On the same batches, of a model whose scores are all 0: with ``n`` equal competitors ``ln(n)``; masks,
            corrections, repeats and hard negatives are as the loss has them.
        first: Of the first epoch, as training recorded it; None when it is not known.
        batches: How many batches were looked at.
    """

    measured: float
    uninformed: float
    first: float | None = None
    batches: int = 1

    @property
    def fallen(self) -> bool:
        """Whether training has taken anything off; with a single candidate there is nothing to take off."""
        return self.uninformed <= 0 or self.measured <= (1 - _GAIN) * self.uninformed


def check_train_loss(evidence: TrainLoss) -> Finding | None:
    """Find a loss that has not fallen."""
    if evidence.fallen:
        return None
    candidates = math.exp(min(evidence.uninformed, 40.0))
    recorded = "" if evidence.first is None else f"; training recorded {evidence.first:.3f} for the first epoch"
    return Finding(
        code="stuck_loss",
        severity="fault",
        title="The loss is stuck where a model starts that knows nothing",
        evidence=(
            f"on {evidence.batches} train batches the loss is {evidence.measured:.3f} per row; with all scores equal it is "
            f"{evidence.uninformed:.3f}, the logarithm of {candidates:,.0f} candidates{recorded}",
        ),
        why="The softmax still gives every candidate about the same probability: no step has taught the model anything, and "
        "its "
        "lists are those of its random start.",
        fix=(
            "training.optimizer.learning_rate: raise it tenfold until the loss falls within the first epoch (adagrad 0.1 to "
            "0.5, "
            "adamw 0.001 to 0.01)",
            "training.epochs: more, where the loss falls, but slowly",
            "loss.temperature: lower it (0.05 to 0.2) with model.l2_normalise = true",
        ),
    )
