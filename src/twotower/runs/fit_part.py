"""Some rows of the interactions, as baselines take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.baselines import FitRows
from twotower.data.consecutive import taken
from twotower.runs.tables import Tables

__all__ = ["FitPart"]


@dataclass(frozen=True, eq=False)
class FitPart:
    """Some rows to fit on.

    Attributes:
        item_rows: int32 ``[n]``, the catalogue row of every interaction.
        rows: Row numbers of the interactions, in the order in which they happened; those whose item is in the catalogue.
        fit: The same, as users and items.
    """

    item_rows: NDArray[np.int32]
    rows: NDArray[np.int64]
    fit: FitRows

    @classmethod
    def of(cls, tables: Tables, rows: NDArray[np.int64]) -> FitPart:
        """The part of some rows, in any order."""
        catalogue = tables.catalogue(rows)
        item_rows = catalogue.rows32(tables.interactions.item_keys)
        ordered = tables.interactions.in_order(rows)
        ordered = ordered if (taken(item_rows, ordered) >= 0).all() else ordered[item_rows[ordered] >= 0]
        fit = FitRows(
            torch.from_numpy(taken(tables.user_rows, ordered)),
            torch.from_numpy(taken(item_rows, ordered)),
            num_users=len(tables.user_ids),
            num_items=len(catalogue),
        )
        return cls(item_rows, ordered, fit)
