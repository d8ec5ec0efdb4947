"""What benchmarks of one process share: contestants in turn, and the ceilings of the machine they run on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["ceilings", "medians"]


def medians(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each contestant, who take turns, so that a busy minute of the machine falls on all of them.

    Args:
        contestants: By name; each is run once before, and not counted.
        repeats: Turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for work in contestants.values():
        work()
    for _ in range(repeats):
        for name, work in contestants.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def ceilings(*, size: int = 2048, megabytes: int = 256, repeats: int = 5) -> dict[str, float]:
    """What the machine reaches where nothing else is in the way: the best of a few, with torch's threads as they are.

    Args:
        size: Rows and columns of the square matrices whose product is timed.
        megabytes: Of the array whose sum is timed; more than the caches hold.
        repeats: Of each.

    Returns:
        ``gflops_float32`` and ``gflops_bfloat16`` of a matrix product, ``gigabytes_per_s`` of reading memory.
    """

    def best(work: Callable[[], object]) -> float:
        work()
        found = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            found.append(time.perf_counter() - began)
        return min(found)

    left, right, out = torch.rand(size, size), torch.rand(size, size), torch.empty(size, size)
    narrow = [each.to(torch.bfloat16) for each in (left, right, out)]
    numbers = torch.ones(megabytes * 2**18)
    flops = 2 * size**3 / 1e9
    return {
        "gflops_float32": flops / best(lambda: torch.mm(left, right, out=out)),
        "gflops_bfloat16": flops / best(lambda: torch.mm(narrow[0], narrow[1], out=narrow[2])),
        "gigabytes_per_s": numbers.nbytes / 1e9 / best(numbers.sum),
    }
