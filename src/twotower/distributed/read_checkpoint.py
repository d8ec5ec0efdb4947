"""Tensors of a checkpoint, read by one process that need not know what the checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from twotower.distributed.checkpoint_contents import Loaded, Stored
from twotower.distributed.checkpoints import LAST, Checkpoints
from twotower.distributed.training_state import TrainingState
from twotower.errors import CheckpointError

__all__ = ["read_checkpoint"]


def read_checkpoint(folder: Path, wanted: Callable[[str], bool], *, name: str = LAST) -> tuple[Loaded, dict[str, Tensor]]:
    """The newest checkpoint of a name, whatever it is of, and those of its tensors that are wanted, each whole.

    Args:
        folder: As `Checkpoints` has it.
        wanted: Of a tensor's name.
        name: Of the checkpoints.

    Raises:
        CheckpointError: If there is none, or the newest one is damaged: an older one is not what is asked for here.

    Example:
        >>> import tempfile
        >>> state = TrainingState(replicated={"a": torch.ones(2), "b": torch.zeros(3)}, values={"epoch": 2})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Checkpoints(Path(folder), fingerprint="a recipe") as checkpoints:
        ...         checkpoints.save(state, step=100)
        ...     loaded, tensors = read_checkpoint(Path(folder), lambda name: name == "a")
        >>> loaded.values, tensors
        ({'epoch': 2}, {'a': tensor([1., 1.])})
    """
    tensors: dict[str, Tensor] = {}

    def places(stored: Mapping[str, Stored]) -> TrainingState:
        tensors.update({key: torch.empty(of.shape, dtype=of.dtype) for key, of in stored.items() if wanted(key)})
        return TrainingState(replicated=tensors)

    with Checkpoints(folder, fingerprint=None) as checkpoints:
        loaded = checkpoints.load(places, name=name, partial=True)
        if checkpoints.refused:
            raise CheckpointError(f"{checkpoints.refused[0].split('; ')[0]}, and what is before it is not what is asked for")
    if loaded is None:
        raise CheckpointError(f"{folder / name}: there is no checkpoint")
    return loaded, tensors
