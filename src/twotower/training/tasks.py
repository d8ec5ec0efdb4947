"""Tasks beside retrieval: each a head of the model, a loss, and a weight in the total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twotower.data.batches import Batch
from twotower.losses import OutcomeLoss
from twotower.losses.cross_entropy import Reduction
from twotower.models import TwoTower

__all__ = ["RETRIEVAL", "RETRIEVAL_ALONE", "Objective", "OutcomeTask", "outcome_losses"]

RETRIEVAL = "retrieval"
"""The name of the first task, whose head is the dot product."""


@dataclass(frozen=True)
class OutcomeTask:
    """An outcome of a row that a head of the model learns to predict from the row's query and item.

    Attributes:
        name: Of the head.
        column: Of the outcome, as examples and batches name it.
        loss: Compares what the head gives with the targets.
        weight: Of the loss in the total, above 0.
    """

    name: str
    column: str
    loss: OutcomeLoss
    weight: float = 1.0


@dataclass(frozen=True)
class Objective:
    """What training minimises: ``retrieval * its loss + sum of weight * loss`` over the other tasks.

    Attributes:
        tasks: Beside retrieval.
        retrieval: Weight of the retrieval loss; 0 leaves it out, and it is not computed.
    """

    tasks: tuple[OutcomeTask, ...] = ()
    retrieval: float = 1.0

    def __post_init__(self) -> None:
        if self.retrieval < 0 or any(not task.weight > 0 for task in self.tasks):
            raise ValueError("the weight of retrieval must be at least 0, that of every other task above 0")
        if self.retrieval == 0 and not self.tasks:
            raise ValueError("there must be something to learn: retrieval weighs 0, and there is no other task")

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the losses by name of the task."""
        weighted = [task.weight * losses[task.name] for task in self.tasks]
        if self.retrieval > 0:
            # a weight of 1 changes no bit
            weighted.insert(0, self.retrieval * losses[RETRIEVAL])
        return torch.stack(weighted).sum() if len(weighted) > 1 else weighted[0]


RETRIEVAL_ALONE = Objective()
"""The objective of a model without heads."""


def outcome_losses(
    model: TwoTower,
    tasks: Sequence[OutcomeTask],
    batch: Batch,
    queries_BD: Tensor,
    own_BD: Tensor,
    *,
    reduction: Reduction,
) -> dict[str, Tensor]:
    """The loss of every task over the rows of a batch that have its outcome.

    Args:
        model: With a head for each task.
        tasks: What to take the losses of.
        batch: On the CPU or on the device.
        queries_BD: Its query vectors.
        own_BD: The vector of each row's own item.
        reduction: The mean over the rows that have the outcome, by weight, or the sum over them.

    Returns:
        Scalars by name of the task; 0 where no row has the outcome, or those that do weigh nothing.
    """
    found = {}
    for task in tasks:
        values_B = batch.outcomes[task.column]
        has_B = ~values_B.isnan()
        if batch.weights is not None:
            has_B = has_B & (batch.weights > 0)
        rows = has_B.nonzero().flatten()
        if not len(rows):
            found[task.name] = (queries_BD * 0).sum()
            continue
        head, here = model.head(task.name), rows.to(queries_BD.device)
        found[task.name] = task.loss(
            head(queries_BD[here], own_BD[here]),
            head.targets(values_B[rows]).to(queries_BD.device),
            weights_B=None if batch.weights is None else batch.weights[rows].to(queries_BD.device),
            reduction=reduction,
        )
    return found
