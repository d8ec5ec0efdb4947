"""What a run was made on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path

import torch

from twotower.bundle import JSON
from twotower.native import native_status

__all__ = ["available_memory_bytes", "hardware", "peak_memory_bytes"]

_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def hardware(device: torch.device, *, ranks: int = 1) -> dict[str, JSON]:
    """The processor, how many of its threads were used, and the accelerator if it is one that was trained on.

    Args:
        device: Where the model was trained.
        ranks: How many processes trained it.

    Returns:
        ``cpu`` (its model), ``cores`` (as the system counts them), ``torch_threads`` (of one process), ``kernels`` (whether
        those in C were compiled), ``system``; with CUDA also ``gpu``, and ``ranks`` where there were several.
    """
    found: dict[str, JSON] = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "torch_threads": torch.get_num_threads(),
        "kernels": native_status("softmax").available,
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    if ranks > 1:
        found["ranks"] = ranks
    return found


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory_bytes() -> int | None:
    """How much memory more processes could take, within what the container may have; None where the system does not tell."""
    found = [left for left in (_of_machine(), _of_container()) if left is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        lines = _MEMORY_INFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _of_container() -> int | None:
    """Its limit, less what is in use and could not be given back at once."""
    try:
        limit = (_CONTAINER / "memory.max").read_text(encoding="ascii").strip()
        if limit == "max":
            return None
        used = int((_CONTAINER / "memory.current").read_text(encoding="ascii"))
        facts = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, int(limit) - used + int(facts.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None


def _cpu() -> str:
    """The model's name, as Linux tells it; elsewhere what Python knows."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
