"""TensorBoard events, for those who watch there; needs the extra ``tensorboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twotower.columnar import Converting
from twotower.errors import MissingExtraError
from twotower.training import EpochDone, StepDone, TrainingEvent

__all__ = ["TensorBoardLog"]


class TensorBoardLog:
    """Writes losses per step, and losses and validation figures per epoch.

    Args:
        folder: Where the event files go.

    Raises:
        MissingExtraError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("--tensorboard needs TensorBoard: pip install 'twotower[tensorboard]'") from None
        self.folder = folder
        self.open = SummaryWriter
        self.writers: dict[str, Any] = {}

    def __call__(self, phase: str, event: TrainingEvent | Converting | str) -> None:
        if not isinstance(event, StepDone | EpochDone):
            return
        if phase not in self.writers:
            self.writers[phase] = self.open(str(self.folder / phase))
        writer = self.writers[phase]
        if isinstance(event, StepDone):
            writer.add_scalar("loss/step", event.loss, event.step)
            for name, value in event.losses.items():
                writer.add_scalar(f"loss/step/{name}", value, event.step)
            return
        writer.add_scalar("loss/epoch", event.loss, event.epoch)
        for name, value in event.losses.items():
            writer.add_scalar(f"loss/epoch/{name}", value, event.epoch)
        writer.add_scalar("learning_rate", event.learning_rate, event.epoch)
        for name, value in event.metrics.items():
            writer.add_scalar(f"validation/{name}", value, event.epoch)
        writer.flush()
