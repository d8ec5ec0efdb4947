"""What training tells whoever watches: a bar, a log, a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

__all__ = ["EpochDone", "Listener", "StepDone", "TrainingEvent", "TrainingStarted", "nobody"]


@dataclass(frozen=True)
class TrainingStarted:
    """Training begins, or goes on after an interruption.

    Attributes:
        epoch: Epochs already complete.
        batch: Batches already done of the next one.
        epochs: Epochs planned.
        batches: Batches per epoch.
        rows: Rows per epoch.
        records: Of the epochs already complete, as in `EpochDone`.
        refused: Checkpoints that were passed over for the one that it goes on from, one line each.
    """

    epoch: int
    batch: int
    epochs: int
    batches: int
    rows: int
    records: tuple[Mapping[str, Any], ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepDone:
    """One optimiser step was taken; ``loss`` is its batch's, ``rows`` the batch's size, ``losses`` as in `EpochDone`."""

    epoch: int
    batch: int
    step: int
    rows: int
    loss: float
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochDone:
    """An epoch is complete.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over the epoch's rows (as the loss reduces: a sum is divided by the rows).
        learning_rate: Of the epoch's last step.
        metrics: What validation returned; empty when this epoch was not validated.
        best: Whether it is the best so far.
        rows: Rows trained on in this epoch.
        seconds: Spent on this epoch's steps, without validation; after a resume, since the resume.
        losses: Of every task by name, ``retrieval`` among them, before they are weighted: ``loss`` is their weighted sum. Empty
            where retrieval is the only task.
    """

    epoch: int
    loss: float
    learning_rate: float
    metrics: Mapping[str, float]
    best: bool
    rows: int
    seconds: float
    losses: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        return values if self.losses else {name: value for name, value in values.items() if name != "losses"}


TrainingEvent: TypeAlias = TrainingStarted | StepDone | EpochDone
Listener: TypeAlias = Callable[[TrainingEvent], None]


def nobody(event: TrainingEvent) -> None:
    """A listener that does nothing."""
    del event
