"""What training tells whoever watches: a bar, a log, a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

__all__ = ["EpochDone", "Listener", "StepDone", "TrainingEvent", "TrainingStarted"]


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
    """

    epoch: int
    batch: int
    epochs: int
    batches: int
    rows: int
    records: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class StepDone:
    """One optimiser step was taken; ``loss`` is its batch's, ``rows`` the batch's size."""

    epoch: int
    batch: int
    step: int
    rows: int
    loss: float


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
    """

    epoch: int
    loss: float
    learning_rate: float
    metrics: Mapping[str, float]
    best: bool
    rows: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


TrainingEvent: TypeAlias = TrainingStarted | StepDone | EpochDone
Listener: TypeAlias = Callable[[TrainingEvent], None]
