"""From a column of weights as it stands in the table to how much each row counts."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.schema import Schema

__all__ = ["row_weights"]

_AT_ONCE = 2**20


def row_weights(column: pl.Series, schema: Schema) -> NDArray[np.float32]:
    """How much each row counts: ``transform(min(value, cap)) + base``.

    Args:
        column: Numbers, finite and at least 0, ``[n]``; the sums, where repeats were summed.
        schema: Its ``weight_cap``, ``weight_transform`` and ``weight_base``.

    Returns:
        float32 ``[n]``, finite and at least 0; an array of the caller's own.

    Example:
        >>> schema = Schema(user="u", item="i", order="row", weight="s", weight_transform="log1p", weight_base=0.5)
        >>> row_weights(pl.Series([0, 10]), schema).round(3).tolist()
        [0.5, 2.8980000019073486]
    """
    if schema.weight_transform == "none" and schema.weight_cap is None and schema.weight_base == 0:
        return column.cast(pl.Float32).to_numpy(writable=True)
    weights = np.empty(len(column), dtype=np.float32)
    for start in range(0, len(column), _AT_ONCE):
        # in double precision: a cap may lie beyond what float32 can tell apart
        values = column.slice(start, _AT_ONCE).cast(pl.Float64).to_numpy(writable=True)
        if schema.weight_cap is not None:
            np.minimum(values, schema.weight_cap, out=values)
        if schema.weight_transform == "log1p":
            np.log1p(values, out=values)
        values += schema.weight_base
        weights[start : start + len(values)] = values
    return weights
