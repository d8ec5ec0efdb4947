"""What a training gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TrainingResult"]


@dataclass(frozen=True)
class TrainingResult:
    """What training gave; the model that was passed in holds the weights of ``epoch``.

    Attributes:
        epoch: The epoch whose weights the model holds: the best one with early stopping, otherwise the last.
        epochs_run: Epochs that were trained.
        records: One per epoch, as in `EpochDone`.
        seconds: In steps, validation not counted; over all sessions when resumed.
        rows_per_s: Rows trained on per second of that.
    """

    epoch: int
    epochs_run: int
    records: tuple[Mapping[str, Any], ...]
    seconds: float
    rows_per_s: float
