"""What a mask allows, counted and gathered.

By numpy, where it can: torch shares such small work out among its threads, which then wait for the next at work, for several
times as long as the work takes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["allowed_rows", "count_allowed", "take_vectors"]


def count_allowed(allowed: Tensor) -> int:
    """How many are true, of a mask (bool, ``[N]``) on any device."""
    return int(allowed.count_nonzero()) if allowed.is_cuda else int(np.count_nonzero(allowed.cpu().numpy()))


def allowed_rows(allowed: Tensor) -> Tensor:
    """Where it is true: int64, ascending, on the device of the mask."""
    return allowed.nonzero()[:, 0] if allowed.is_cuda else torch.from_numpy(np.flatnonzero(allowed.cpu().numpy()))


def take_vectors(vectors_ND: Tensor, rows: Tensor) -> Tensor:
    """The vectors of some rows, ``[A, D]``, on the device of both."""
    return vectors_ND[rows] if vectors_ND.is_cuda else torch.from_numpy(vectors_ND.numpy().take(rows.numpy(), axis=0))
