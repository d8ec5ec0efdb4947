"""Popularity of late: counts that fade."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.baselines.fit_rows import FitRows

__all__ = ["recent_counts"]


def recent_counts(rows: FitRows, *, half_life: float) -> Tensor:
    """How often each item occurs, where a row counts half as much as one that came ``half_life`` rows later.

    ``sum over the item's rows of 2 ** (-age / half_life)``, the age being how many rows came after. Fading rather than a window
    of the last rows: a window has two edges that matter (a row within it counts whole, one outside nothing) and makes ties of
    all items that it does not reach; this has one number, and the longer the half-life, the nearer it comes to popularity.
    Age is counted in rows, so that a busy week weighs what a quiet month does, and tables without times have it too.

    Args:
        rows: In the order in which they happened.
        half_life: Rows, above 0.

    Returns:
        float64 ``[N]``, scores for `PopularityScorer`; 0 for an item without rows, or with none younger than about 1,000
        half-lives.

    Raises:
        ValueError: If the half-life is not above 0.

    Example:
        >>> rows = FitRows(torch.tensor([0, 0, 0]), torch.tensor([1, 1, 0]), num_users=1, num_items=2)
        >>> recent_counts(rows, half_life=1).tolist()
        [1.0, 0.75]
    """
    if not half_life > 0:
        raise ValueError(f"half_life must be above 0; came {half_life}")
    age = torch.arange(len(rows.item_rows) - 1, -1, -1, dtype=torch.float64)
    return torch.bincount(rows.item_rows, weights=torch.exp2(-age / half_life), minlength=rows.num_items)
