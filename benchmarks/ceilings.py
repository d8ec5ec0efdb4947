"""What the machine reaches where nothing else is in the way: products and bytes a second.

    python benchmarks/ceilings.py

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch
from measured import table

__all__ = ["ceilings"]


def main() -> None:
    """Measure, print a table and the line."""
    found = ceilings()
    print(table(["ceiling", "a second"], [[name, f"{value:.1f}"] for name, value in found.items()]))
    print(json.dumps({"benchmark": "ceilings", "threads": torch.get_num_threads(), **found}))


def ceilings(*, size: int = 2048, megabytes: int = 256, repeats: int = 5) -> dict[str, float]:
    """What the machine reaches: the best of a few, with torch's threads as they are.

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


if __name__ == "__main__":
    main()
