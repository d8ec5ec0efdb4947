"""Training: a plain loop of pure steps, validated through a callable, resumable at any batch."""

from twotower.training.captured import checked_capture, why_not_captured
from twotower.training.config import DeviceName, EarlyStopping, ResidentData, TrainingConfig, smaller_is_better
from twotower.training.device import resolve_device
from twotower.training.events import EpochDone, Listener, StepDone, TrainingEvent, TrainingStarted, nobody
from twotower.training.kept_end import KeptEnd
from twotower.training.kept_state import Checkpoints
from twotower.training.optimizer_states import States, TrainedParameters, put_states
from twotower.training.result import TrainingResult
from twotower.training.tasks import RETRIEVAL, Objective, OutcomeTask
from twotower.training.train import train

__all__ = [
    "RETRIEVAL",
    "Checkpoints",
    "DeviceName",
    "EarlyStopping",
    "EpochDone",
    "KeptEnd",
    "Listener",
    "Objective",
    "OutcomeTask",
    "ResidentData",
    "States",
    "StepDone",
    "TrainedParameters",
    "TrainingConfig",
    "TrainingEvent",
    "TrainingResult",
    "TrainingStarted",
    "checked_capture",
    "nobody",
    "put_states",
    "resolve_device",
    "smaller_is_better",
    "train",
    "why_not_captured",
]
