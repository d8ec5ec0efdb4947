"""How near to the machine's limit something came.

The products and the bytes that a job can't do without are counted, the ceilings (products and bytes a second) are measured by
``ceilings.py``, and the larger of the two times that follow is the least that the job could take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["best_ceilings", "roofline"]

CEILINGS = ("gflops_float32", "gflops_bfloat16", "gigabytes_per_s")


def best_ceilings(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The highest of each ceiling: one that was measured beside other work is none."""
    return {name: max(each[name] for each in found) for name in CEILINGS}


def roofline(
    seconds: float, *, flops: float, num_bytes: float, machine: Mapping[str, float], precision: str = "float32"
) -> dict[str, Any]:
    """How near to the machine's limit something came.

    Args:
        seconds: That it took.
        flops: Multiplications and additions that it can't do without.
        num_bytes: That it has to read or write at least.
        machine: What `ceilings` gave.
        precision: Of the products: float32 or bfloat16.

    Returns:
        What was counted, ``bound_by`` (``products`` or ``memory``, whichever takes longer at the ceiling), ``limit_s`` and
        ``share`` of that limit in the seconds taken.
    """
    limits = {
        "products": flops / 1e9 / machine[f"gflops_{precision}"],
        "memory": num_bytes / 1e9 / machine["gigabytes_per_s"],
    }
    bound = max(limits, key=lambda name: limits[name])
    return {"flops": flops, "bytes": num_bytes, "bound_by": bound, "limit_s": limits[bound], "share": limits[bound] / seconds}
