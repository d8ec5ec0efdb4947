"""One vector from any number of table rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.types import Ragged

__all__ = ["pool_rows"]


def pool_rows(table_VD: Tensor, rows: Ragged, pooling: Literal["mean", "sum", "sqrt_n"], *, sparse: bool = False) -> Tensor:
    """Look rows up in a table and pool them, without materialising the rows.

    Args:
        table_VD: The embedding table.
        rows: Ragged integer rows in ``[0, V)``.
        pooling: ``sum``; ``mean`` = sum / length; ``sqrt_n`` = sum / sqrt(length).
        sparse: Whether the table's gradient holds only the rows that were looked up.

    Returns:
        ``[n, D]``; an empty row is pooled to zeros.
    """
    # for int32 torch has no fast path on the CPU: ten times slower than the copy
    values = rows.values if rows.values.dtype == torch.int64 else rows.values.to(torch.int64)
    pooled_BD = F.embedding_bag(
        values,
        table_VD,
        rows.offsets,
        mode="mean" if pooling == "mean" else "sum",
        include_last_offset=True,
        sparse=sparse,
    )
    if pooling == "sqrt_n":
        pooled_BD = pooled_BD / rows.lengths.clamp(min=1).to(pooled_BD.dtype).sqrt().unsqueeze(1)
    return pooled_BD
