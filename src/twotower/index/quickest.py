"""Which first pass is quickest on this machine, by trying."""

from __future__ import annotations

import functools
import time

import torch

from twotower.index.low_precision import FIRST_PASSES, LANES, TILE_ROWS, FirstPass, multiply

__all__ = ["can_multiply", "quickest_first_pass"]

_QUERIES = 128
_REPEATS = 5
_DTYPES = {"int8": (torch.int8, torch.int32), "bfloat16": (torch.bfloat16,) * 2, "float32": (torch.float32,) * 2}


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
    if kind == "float32" and torch.get_float32_matmul_precision() != "highest":
        return False
    signs = torch.arange(TILE_ROWS * dim).view(TILE_ROWS, dim) // 3 % 2 * 2 - 1
    steps_TD = torch.where(torch.arange(TILE_ROWS).unsqueeze(1) % 2 == 0, 127, 127 * signs)
    dtype, out = _DTYPES[kind]
    # a third: of numbers that fit into fewer bits no bit is lost
    low_TD = steps_TD.to(dtype) if kind == "int8" else (steps_TD / 3).to(dtype)
    low_DB = low_TD[: 2 * _QUERIES].T.contiguous()
    exact_TB = low_TD.double() @ low_DB.double()
    products_TB = torch.empty(exact_TB.shape, dtype=out)
    multiply(low_TD, low_DB, products_TB)
    share = {"int8": 0.0, "float32": (dim + 8) * 2.0**-24, "bfloat16": (dim + 8) * 2.0**-24 + 2.0**-8}[kind]
    return bool(((products_TB.double() - exact_TB).abs() <= share * float(low_TD[0].double().square().sum())).all())


@functools.cache
def _quickest(dim: int, *_conditions: object) -> FirstPass | None:
    kinds = [kind for kind in FIRST_PASSES if can_multiply(kind, dim)]
    return min(kinds, key=lambda kind: _seconds(kind, dim), default=None)


def _seconds(kind: FirstPass, dim: int) -> float:
    generator = torch.Generator().manual_seed(0)
    dtype, out = _DTYPES[kind]
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
