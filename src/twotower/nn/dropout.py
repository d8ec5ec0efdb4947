"""Dropout on integer rows: replaced by the out-of-vocabulary row, or left out of a ragged column.

Both draw from torch's current random state, as `torch.nn.Dropout` does; the trainer seeds it at every step.
"""

from __future__ import annotations

import torch

from twotower.filled import Filled
from twotower.types import Column, Ragged

__all__ = ["drop_to_row", "drop_values"]


def drop_to_row(column: Column, probability: float, *, row: int = 0) -> Column:
    """Replace each value by ``row`` with the given probability, so that this row learns what an unknown id is worth.

    Args:
        column: Integer rows, ragged or not.
        probability: In ``[0, 1)``; 0 returns the column itself.
        row: The out-of-vocabulary row.
    """
    if probability == 0:
        return column
    values = column.values if isinstance(column, Ragged) else column
    dropped = torch.rand(values.shape, device=values.device) < probability
    if isinstance(column, Filled):  # what only fills is no row's, and must touch no other row than rows do
        dropped &= torch.arange(len(values), device=values.device) < column.offsets[-1]
    replaced = values.masked_fill(dropped, row)
    return column._replace(values=replaced) if isinstance(column, Ragged) else replaced


def drop_values(column: Ragged, probability: float) -> Ragged:
    """Leave each value out with the given probability; rows become shorter and may become empty."""
    if probability == 0:
        return column
    return column.keep(torch.rand(column.values.shape, device=column.values.device) >= probability)
