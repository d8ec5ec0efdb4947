"""Where the data of a training is: beside the model on an accelerator, where there is room for it."""

from __future__ import annotations

import torch

from twotower.data.batches import Batches
from twotower.errors import ConfigError, TrainingError
from twotower.training.config import ResidentData

__all__ = ["resident_batches"]


def resident_batches(batches: Batches, device: torch.device, asked: ResidentData, *, needed: bool = False) -> Batches:
    """The feed, from examples on the device where they are to be there.

    Args:
        batches: From examples on the CPU.
        device: Where the model is, optimisers and all.
        asked: ``auto`` takes half of the memory that is free there, at most; of a device that does not say how much is free,
            nothing.
        needed: Whether steps are captured, which need them there.

    Raises:
        TrainingError: If they are to be there and do not fit.
        ConfigError: If they are needed there and are not to be.
    """
    if device.type == "cpu":
        return batches
    found = _found(batches, device, asked)
    if needed and found is batches:
        raise ConfigError(
            "training.cuda_graph: the data must be on the device, and is not: set training.resident_data = 'always', or "
            "training.cuda_graph = false"
        )
    return found


def _found(batches: Batches, device: torch.device, asked: ResidentData) -> Batches:
    if asked == "never":
        return batches
    size = batches.examples.num_bytes() + 8 * min(len(batches.examples), batches.most_in_memory)
    if asked == "auto":
        free = _free_bytes(device)
        return batches if free is None or size > free // 2 else batches.on(device)
    try:
        return batches.on(device)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"training.resident_data = 'always': the examples take {size / 2**30:.1f} GiB, and {device} has less left beside "
            "the model: set it to 'auto', or 'never'"
        ) from error


def _free_bytes(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
