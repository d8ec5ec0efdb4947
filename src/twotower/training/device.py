"""From a device's name to the device."""

from __future__ import annotations

import torch

from twotower.errors import ConfigError
from twotower.training.config import DeviceName

__all__ = ["resolve_device"]


def resolve_device(name: DeviceName) -> torch.device:
    """The device of that name; ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        ConfigError: If the device is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        raise ConfigError(f"--device {name}: this machine or this build of torch has none; use --device auto or cpu")
    return torch.device(name)
