"""How many train interactions each row of a table stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["row_counts"]


def row_counts(counts: NDArray[np.int64] | None, num_rows: int) -> NDArray[np.int64]:
    """Counts of the rows, int64 ``[num_rows]``; None stands for one each.

    Every statistic of this room treats a row with count ``c`` as ``c`` equal rows, so that a row with count 0 adds nothing.

    Raises:
        ValueError: If the length differs or a count is negative.

    Example:
        >>> row_counts(None, 3).tolist()
        [1, 1, 1]
    """
    if counts is None:
        return np.ones(num_rows, dtype=np.int64)
    if counts.shape != (num_rows,):
        raise ValueError(f"counts must have one entry per row, shape ({num_rows},); came {counts.shape}")
    if num_rows and counts.min() < 0:
        raise ValueError(f"counts must not be negative; the least is {counts.min()}")
    return counts.astype(np.int64, copy=False)
