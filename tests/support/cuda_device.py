"""The CUDA device of tests that need one, and the marks of their modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

__all__ = ["CUDA", "ON_CUDA", "float32_products"]

CUDA = torch.device("cuda", 0)
ON_CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; on a machine that has one: make gpu"),
    # torch 2.11 says so once of a sparse tensor, though it was asked not to check
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning"),
]


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Within the block torch multiplies float32 as `torch.set_float32_matmul_precision` has it; ``high`` is TF32 on CUDA."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
