"""What a mask allows, counted and gathered.

On the CPU by numpy: torch shares such small work out among its threads, which then wait for the next at work, for several
times as long as the work takes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["allowed_rows", "count_allowed", "take_vectors"]


def count_allowed(allowed: Tensor) -> int:
    """How many are true, of a mask (bool, ``[N]``) on any device."""
    return int(np.count_nonzero(allowed.numpy())) if _on_cpu(allowed) else int(allowed.count_nonzero())


def allowed_rows(allowed: Tensor) -> Tensor:
    """Where it is true: int64, ascending, on the device of the mask."""
    return torch.from_numpy(np.flatnonzero(allowed.numpy())) if _on_cpu(allowed) else allowed.nonzero()[:, 0]


def take_vectors(vectors_ND: Tensor, rows: Tensor) -> Tensor:
    """The vectors of some rows, ``[A, D]``, on the device of both."""
    return torch.from_numpy(vectors_ND.numpy().take(rows.numpy(), axis=0)) if _on_cpu(vectors_ND) else vectors_ND[rows]


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"
