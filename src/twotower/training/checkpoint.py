"""The whole state of a training in one file that knows whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.bundle import read_tensors, write_tensors
from twotower.errors import BundleError, CheckpointError
from twotower.models import load_state, state_of

__all__ = ["Progress", "load_checkpoint", "save_checkpoint"]


@dataclass
class Progress:
    """Where training stands: with the weights and the optimisers' state, all that the next step depends on.

    The order of rows and the random state of a step are functions of the seed and the counters, so neither is stored.

    Attributes:
        epoch: Epochs complete.
        batch: Batches done of the next epoch.
        step: Optimiser steps taken.
        loss_sum: Of the unfinished epoch, summed over rows.
        rows: Of the unfinished epoch.
        best_epoch: 0 when nothing was validated yet.
        best_value: Of the early-stopping metric.
        stale: Validations since the best.
        stopped: Training is over.
        seconds: Spent in steps so far.
        records: One entry per finished epoch.
        task_sums: As ``loss_sum``, of every task by name; empty where retrieval is the only one.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    stale: int = 0
    stopped: bool = False
    seconds: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)
    task_sums: dict[str, float] = field(default_factory=dict)


def save_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], progress: Progress, *, fingerprint: str
) -> None:
    """Write weights, optimiser state and progress as one file, atomically.

    Args:
        path: Replaced when it exists.
        modules: By name, for instance ``model`` and ``loss``.
        optimizers: In a fixed order.
        progress: Counters and records.
        fingerprint: Identifies model, data and configuration; resuming demands the same.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}:{key}": value for key, value in state_of(module).items()}
    for position, optimizer in enumerate(optimizers):
        for parameter, entries in optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer.{position}:{parameter}.{key}"] = torch.as_tensor(value)
    write_tensors(path, tensors, {"progress": json.dumps(vars(progress)), "fingerprint": fingerprint})


def load_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], *, fingerprint: str
) -> Progress:
    """Put weights and optimiser state back, and return the progress.

    Args:
        path: What `save_checkpoint` wrote.
        modules: As they were saved, by the same names; changed in place.
        optimizers: As they were saved, or none to leave their state in the file.
        fingerprint: Must be the one that was saved.

    Raises:
        CheckpointError: If the file is damaged or belongs to another recipe, data set or version.
    """
    tensors, progress = _read(path, fingerprint)
    try:
        for name, module in modules.items():
            prefix = f"{name}:"
            load_state(module, {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)})
    except BundleError as error:
        raise CheckpointError(f"{path}: {error}") from error
    for position, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        prefix = f"optimizer.{position}:"
        for key, value in tensors.items():
            if key.startswith(prefix):
                parameter, entry = key.removeprefix(prefix).split(".", 1)
                state.setdefault(int(parameter), {})[entry] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def _read(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], Progress]:
    try:
        tensors, metadata = read_tensors(path)
    except BundleError as error:
        raise CheckpointError(f"{path}: this checkpoint is damaged ({error}); delete it, or train without --resume") from error
    if metadata.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path}: this checkpoint is of another recipe, data set or library version; "
            "train into a new run folder, or without --resume to start over"
        )
    return tensors, Progress(**json.loads(metadata["progress"]))
