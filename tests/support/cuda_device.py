"""The CUDA device of tests that need one, and the marks of their modules."""

from __future__ import annotations

import pytest
import torch

__all__ = ["CUDA", "ON_CUDA"]

CUDA = torch.device("cuda", 0)
ON_CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; on a machine that has one: make gpu"),
    # torch 2.11 says so once of a sparse tensor, though it was asked not to check
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning"),
]
