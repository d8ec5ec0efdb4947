"""What a checkpoint is found to hold, and whether that is what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twotower.distributed.checkpoint_folder import Commit
from twotower.distributed.tensor_file import dtype_name
from twotower.distributed.training_state import Pieces, TrainingState
from twotower.errors import CheckpointError, nearest

__all__ = ["Found", "Loaded", "Stored", "names_as_stored", "said_alike"]


@dataclass(frozen=True)
class Loaded:
    """The checkpoint whose tensors were filled in.

    Attributes:
        path: Its folder.
        step: Optimiser steps taken when it was saved.
        ranks: How many ranks wrote it.
        values: The small values that were saved.
    """

    path: Path
    step: int
    ranks: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """A tensor that a checkpoint holds.

    Attributes:
        dtype: Of its numbers.
        shape: Of the whole tensor.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """A checkpoint whose commit file and JSON files are whole."""

    commit: Commit
    tensors: Mapping[str, Any]
    values: Mapping[str, Any]


def said_alike(state: TrainingState) -> str:
    """Of what all ranks say the same, one line each."""
    return "\n".join(
        f"{name}: {dtype_name(tensor.dtype)} {list(tensor.shape)}" for name, tensor in sorted(state.replicated.items())
    )


def names_as_stored(wanted: Pieces, stored: Mapping[str, Any], folder: Path) -> list[str]:
    """The names of what is to be filled, after a look at whether it is there and is what it was."""
    for name, shards in wanted.items():
        if name not in stored:
            raise CheckpointError(f"{folder}: it holds no tensor {name!r}{nearest(name, stored)}")
        was = f"{stored[name]['dtype']} {stored[name]['shape']}"
        for shard in shards:
            asked = f"{dtype_name(shard.values.dtype)} {list(shard.shape)}"
            if asked != was:
                raise CheckpointError(f"{folder}: its {name!r} is {was}, and {asked} is asked for")
    return list(wanted)
