"""Which first pass is quickest on this machine, by trying."""

from __future__ import annotations

import functools
import time

import torch

from twotower.index.low_precision import FIRST_PASSES, LANES, TILE_ROWS, FirstPass, multiply

__all__ = ["can_multiply", "quickest_first_pass"]

_QUERIES = 128
_REPEATS = 5


def quickest_first_pass(dim: int) -> FirstPass | None:
    """Of those that keep their bounds, the one that takes products and maxima of a tile in the least time.

    Measured once in a process for each width and number of threads, in some milliseconds. The answers of a search do not depend
    on it.

    Args:
        dim: The width of a vector.

    Returns:
        None if none keeps its bounds here.
    """
    return _quickest(dim, torch.get_num_threads(), torch.get_float32_matmul_precision())


def can_multiply(kind: FirstPass, dim: int) -> bool:
    """Whether products are as exact here as the bounds take them to be.

    For int8 the greatest and the least numbers are tried: where a processor has no sum of four products, libraries may add in
    16 bits and saturate. For float32 the process must not have asked for less (`torch.set_float32_matmul_precision`).
    """
    if kind == "float32":
        return torch.get_float32_matmul_precision() == "highest"
    signs = torch.arange(TILE_ROWS * dim).view(TILE_ROWS, dim) // 3 % 2 * 2 - 1
    steps_TD = torch.where(torch.arange(TILE_ROWS).unsqueeze(1) % 2 == 0, 127, 127 * signs)
    steps_DB = steps_TD[: 2 * _QUERIES].T.contiguous()
    exact_TB = (steps_TD.double() @ steps_DB.double()).unsqueeze(0)
    dtype, out = (torch.int8, torch.int32) if kind == "int8" else (torch.bfloat16, torch.bfloat16)
    products_TB = torch.empty(exact_TB.shape[1:], dtype=out)
    multiply(steps_TD.to(dtype), steps_DB.to(dtype), products_TB)
    allowed = 0.0 if kind == "int8" else (2.0**-8 + (dim + 8) * 2.0**-24) * 127**2 * dim
    return bool(((products_TB.double() - exact_TB[0]).abs() <= allowed).all())


@functools.cache
def _quickest(dim: int, *_conditions: object) -> FirstPass | None:
    kinds = [kind for kind in FIRST_PASSES if can_multiply(kind, dim)]
    return min(kinds, key=lambda kind: _seconds(kind, dim), default=None)


def _seconds(kind: FirstPass, dim: int) -> float:
    generator = torch.Generator().manual_seed(0)
    dtype, out = {"int8": (torch.int8, torch.int32), "bfloat16": (torch.bfloat16,) * 2, "float32": (torch.float32,) * 2}[kind]
    steps_TD = torch.randint(-127, 128, (TILE_ROWS, dim), generator=generator).to(dtype)
    steps_DB = torch.randint(-127, 128, (dim, _QUERIES), generator=generator).to(dtype)
    products_TB = torch.empty(TILE_ROWS, _QUERIES, dtype=out)
    least = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        multiply(steps_TD, steps_DB, products_TB)
        products_TB.view(-1, LANES, _QUERIES).amax(dim=0)
        least = min(least, time.perf_counter() - began)
    return least
