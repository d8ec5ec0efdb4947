"""Training: a plain loop of pure steps, validated through a callable, resumable at any batch."""

from twotower.training.config import DeviceName, EarlyStopping, TrainingConfig
from twotower.training.device import resolve_device
from twotower.training.events import EpochDone, Listener, StepDone, TrainingEvent, TrainingStarted
from twotower.training.train import Checkpoints, TrainingResult, train

__all__ = [
    "Checkpoints",
    "DeviceName",
    "EarlyStopping",
    "EpochDone",
    "Listener",
    "StepDone",
    "TrainingConfig",
    "TrainingEvent",
    "TrainingResult",
    "TrainingStarted",
    "resolve_device",
    "train",
]
