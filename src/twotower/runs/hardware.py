"""What a run was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from twotower.bundle import JSON

__all__ = ["hardware"]

_CPU_INFO = Path("/proc/cpuinfo")


def hardware(device: torch.device) -> dict[str, JSON]:
    """The processor, how many of its threads were used, and the accelerator if it is one that was trained on.

    Args:
        device: Where the model was trained.

    Returns:
        ``cpu`` (its model), ``cores`` (as the system counts them), ``torch_threads``, ``system``; with CUDA also ``gpu``.
    """
    found: dict[str, JSON] = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _cpu() -> str:
    """The model's name, as Linux tells it; elsewhere what Python knows."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
