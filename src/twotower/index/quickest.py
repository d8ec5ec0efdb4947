"""Which first pass is quickest on this machine, by trying."""

from __future__ import annotations

import functools
import time

import torch

from twotower.index.low_precision import FIRST_PASSES, LANES, TILE_ROWS, FirstPass, multiply, product_error
from twotower.index.product_precision import product_precision

__all__ = ["can_multiply", "quickest_first_pass"]

_QUERIES = 128
_REPEATS = 5
_CPU = torch.device("cpu")
_ON_DEVICES: tuple[FirstPass, ...] = ("float32", "bfloat16")
_DEVICE_TILES, _IN_A_ROW = 32, 4
_DTYPES = {"int8": (torch.int8, torch.int32), "bfloat16": (torch.bfloat16,) * 2, "float32": (torch.float32,) * 2}


def quickest_first_pass(dim: int, device: torch.device = _CPU) -> FirstPass | None:
    """Of those that keep their bounds, the one that takes products and maxima of a tile in the least time.

    Measured once in a process for each width, device and number of threads, in some milliseconds. The answers of a search do
    not depend on it.

    Args:
        dim: The width of a vector.
        device: Where the vectors are; int8 is for the CPU alone.

    Returns:
        None if none keeps its bounds here.
    """
    return _quickest(dim, device, torch.get_num_threads(), product_precision(device))


def can_multiply(kind: FirstPass, dim: int, device: torch.device = _CPU) -> bool:
    """Whether products are as exact here as the bounds take them to be.

    For int8 the greatest and the least numbers are tried: where a processor has no sum of four products, libraries may add in
    16 bits and saturate. For float32 on the CPU the process must not have asked for less
    (`torch.set_float32_matmul_precision`); elsewhere the bounds are those of what it asks for.
    """
    precision = product_precision(device)
    if device.type == "cpu":
        if kind == "float32" and precision != "highest":
            return False
    elif kind not in _ON_DEVICES:
        return False
    rows_T = torch.arange(TILE_ROWS, device=device)
    signs = torch.arange(TILE_ROWS * dim, device=device).view(TILE_ROWS, dim) // 3 % 2 * 2 - 1
    steps_TD = torch.where(rows_T.unsqueeze(1) % 2 == 0, 127, 127 * signs)
    dtype, out = _DTYPES[kind]
    # a third: of numbers that fit into fewer bits no bit is lost
    low_TD = steps_TD.to(dtype) if kind == "int8" else (steps_TD / 3).to(dtype)
    low_DB = low_TD[: 2 * _QUERIES].T.contiguous()
    exact_TB = low_TD.double() @ low_DB.double()
    products_TB = torch.empty(exact_TB.shape, dtype=out, device=device)
    multiply(low_TD, low_DB, products_TB)
    most = low_TD[0].double().square().sum() * product_error(kind, dim, precision)
    return bool(((products_TB.double() - exact_TB).abs() <= most).all())


@functools.cache
def _quickest(dim: int, device: torch.device, *_conditions: object) -> FirstPass | None:
    kinds = FIRST_PASSES if device.type == "cpu" else _ON_DEVICES
    able = [kind for kind in kinds if can_multiply(kind, dim, device)]
    return min(able, key=lambda kind: _seconds(kind, dim, device), default=None)


def _seconds(kind: FirstPass, dim: int, device: torch.device = _CPU) -> float:
    tiles, times = (1, 1) if device.type == "cpu" else (_DEVICE_TILES, _IN_A_ROW)
    generator = torch.Generator().manual_seed(0)
    dtype, out = _DTYPES[kind]
    steps_TD = torch.randint(-127, 128, (tiles * TILE_ROWS, dim), generator=generator).to(device, dtype)
    steps_DB = torch.randint(-127, 128, (dim, _QUERIES), generator=generator).to(device, dtype)
    products_TB = torch.empty(tiles * TILE_ROWS, _QUERIES, dtype=out, device=device)
    least = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(times):
            multiply(steps_TD, steps_DB, products_TB)
            maxima = products_TB.view(-1, LANES, _QUERIES).amax(dim=0)
        maxima[0, 0].item()  # has an accelerator's answer only when all is done
        least = min(least, time.perf_counter() - began)
    return least
