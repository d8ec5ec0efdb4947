"""What benchmarks share where a device can be chosen: clocks that wait for it, its peak memory, its ceilings, and what it is.

The processor is one of the devices, and is measured as it is without a choice.
"""

from __future__ import annotations

import argparse
import functools
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from ceilings import ceilings
from measured import forget_peak, peak_bytes

__all__ = ["device_ceilings", "device_facts", "device_option", "peak_bytes_on", "synchronised", "to_its_end"]


def device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``: ``cpu``, ``cuda`` or ``cuda:N``, as a `torch.device`.

    Where the machine does not have it, parsing ends with one line on stderr and exit code 2.
    """
    parser.add_argument("--device", type=_there, default="cpu", help="cpu, cuda or cuda:N; cpu")


def _there(text: str) -> torch.device:
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is not None and device.type == "cpu":
        return device
    if device is None or device.type != "cuda":
        why = "it is not a device that is measured here: cpu, cuda or cuda:N"
    elif not torch.cuda.is_available():
        why = f"this machine has no CUDA device that torch {torch.__version__} can use"
    elif (device.index or 0) >= torch.cuda.device_count():
        why = f"this machine has {torch.cuda.device_count()} CUDA devices, counted from 0"
    else:
        return torch.device("cuda", device.index or 0)
    print(f"--device {text}: {why}", file=sys.stderr)
    raise SystemExit(2)


def synchronised(device: torch.device) -> None:
    """Wait until the device has done all that it was given; the processor always has."""
    if device.type != "cpu":
        torch.cuda.synchronize(device)


def to_its_end(device: torch.device, work: Callable[[], object]) -> Callable[[], None]:
    """The same work, which now returns when the device has done it, so that a clock read before and after it is right."""

    def done() -> None:
        work()
        synchronised(device)

    return done


def peak_bytes_on(device: torch.device, work: Callable[[], object]) -> int:
    """The most memory that some work takes, beside what was taken before; at least 1.

    Args:
        device: Whose memory. Of the processor's, the whole process' is meant, which is best one of its own for each work, and
            of what torch holds for it those pages that were not touched before. On an accelerator it is what torch's
            allocator has given out.
        work: It should have been done once in a small size: libraries take memory of their own when they are first used.
    """
    if device.type == "cpu":
        before = forget_peak()
        work()
        return max(peak_bytes() - before, 1)
    synchronised(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    synchronised(device)
    return max(torch.cuda.max_memory_allocated(device) - before, 1)


def device_ceilings(device: torch.device, *, size: int = 8192, megabytes: int = 1024, repeats: int = 10) -> dict[str, float]:
    """What the device reaches where nothing else is in the way: the best of a few; the processor's are those of `ceilings`.

    Args:
        device: Which.
        size: On an accelerator, rows and columns of the square matrices whose product is timed.
        megabytes: On an accelerator, of the array that is copied.
        repeats: Of each, there.

    Returns:
        ``gflops_float32`` and ``gflops_bfloat16`` of a matrix product, as torch is set (`device_facts` says how), and
        ``gigabytes_per_s``: of reading on the processor, of reading and writing, both counted, on an accelerator.
    """
    if device.type == "cpu":
        return ceilings()

    def best(work: Callable[[], object]) -> float:
        work = to_its_end(device, work)
        found = []
        for turn in range(3 + repeats):  # the first few choose a kernel and raise the clock
            began = time.perf_counter()
            work()
            if turn >= 3:
                found.append(time.perf_counter() - began)
        return min(found)

    left, right = (torch.rand(size, size, device=device) - 0.5 for _ in range(2))
    flops, found = 2 * size**3 / 1e9, {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = left.to(dtype), right.to(dtype)
        out = torch.empty_like(a)
        found[f"gflops_{str(dtype).removeprefix('torch.')}"] = flops / best(functools.partial(torch.mm, a, b, out=out))
    numbers = torch.ones(megabytes * 2**18, device=device)
    copy = torch.empty_like(numbers)
    found["gigabytes_per_s"] = 2 * numbers.nbytes / 1e9 / best(lambda: copy.copy_(numbers))
    return found


def device_facts(device: torch.device) -> dict[str, Any]:
    """What is measured: the device, its name and the versions of what drives it; None where that is not known."""
    facts: dict[str, Any] = {
        "device": device.type,
        "name": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "float32_products": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cpu":
        return facts
    properties = torch.cuda.get_device_properties(device)
    return facts | {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "processors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "driver": _driver(),
    }


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    versions = done.stdout.split() if done.returncode == 0 else []
    return versions[0] if versions else None
