"""Rows of a table that become an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["Lookup"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows of a table that become a tower's input.

    Attributes:
        table: float32 ``[V, D]``.
        values: Integers in ``[0, V)``, all rows one after the other.
        offsets: Where each row's values start, and the end, ``[n + 1]``; None: every row has one.
        pooling: Of a row's values.
        scale: What the pooled rows are multiplied by.
        filled: Whether there are more values than those of the rows, see `twotower.filled.Filled`.
    """

    table: Tensor
    values: Tensor
    offsets: Tensor | None = None
    pooling: Literal["mean", "sum", "sqrt_n"] | None = None
    scale: float = 1.0
    filled: bool = False
