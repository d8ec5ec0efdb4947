"""Settings of threads that suit the machine, made before torch is loaded and reads them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cpu_quota", "others_running", "thread_settings"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_LOAD = Path("/proc/loadavg")
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_NUMBER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def thread_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of the environment to set for torch; whoever has set one of a kind is left alone.

    Threads of torch meet after every operation and by default wait for each other at work (they spin). That is quickest on a
    machine of one's own. Where another process takes a core away for a moment, all spin until it is given back: with 2 cores
    and other work on them, a training step took 2 to 10 times as long with two threads as with one. Threads that sleep while
    they wait took 1 to 2.4 times as long there, and on an idle machine up to a fifth longer than those that spin. So they sleep
    where, as the command starts, others want a quarter of the cores, and at least one. How threads wait changes no result.

    In a container that may use less time than the machine has cores, torch would start one thread for each core.

    Args:
        environment: Variables that are set, for instance ``os.environ``.

    Returns:
        ``OMP_WAIT_POLICY`` and ``OMP_NUM_THREADS``, where they should be set.
    """
    found: dict[str, str] = {}
    cores = _cores()
    if not any(name in environment for name in _WAITING) and others_running() >= max(1.0, cores / 4):
        found["OMP_WAIT_POLICY"] = "PASSIVE"
    quota = cpu_quota()
    if not any(name in environment for name in _NUMBER) and quota is not None and quota < cores:
        found["OMP_NUM_THREADS"] = str(math.ceil(quota))
    return found


def others_running() -> float:
    """How many others want a core: over the last minute, or at this moment where that is less. 0 where nobody tells."""
    try:
        words = _LOAD.read_text(encoding="ascii").split()
        now, _, _ = words[3].partition("/")
        return max(0.0, min(float(words[0]), int(now) - 1))
    except (OSError, ValueError, IndexError):
        return 0.0


def cpu_quota() -> float | None:
    """How many cores' time this process and its neighbours in a container may use; None: no limit that Linux tells."""
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
