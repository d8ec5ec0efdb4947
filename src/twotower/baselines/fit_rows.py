"""What baselines learn from: who had what, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from twotower.types import Ragged

__all__ = ["FitRows"]


@dataclass(frozen=True)
class FitRows:
    """Interactions to fit on.

    Attributes:
        user_rows: int64 or int32 ``[n]``, in [0, num_users).
        item_rows: int64 or int32 ``[n]``, catalogue rows, in [0, num_items); from what happened first to what happened last.
        num_users: U.
        num_items: N, the catalogue's size.

    Raises:
        ValueError: If the two have other shapes than ``[n]``, or a row is out of range.

    Example:
        >>> rows = FitRows(torch.tensor([1, 0, 1, 1]), torch.tensor([2, 0, 0, 2]), num_users=2, num_items=3)
        >>> rows.counts().tolist(), rows.distinct()
        ([2, 0, 2], Ragged(values=tensor([0, 0, 2]), offsets=tensor([0, 1, 3])))
    """

    user_rows: Tensor
    item_rows: Tensor
    num_users: int
    num_items: int

    def __post_init__(self) -> None:
        if self.user_rows.ndim != 1 or self.user_rows.shape != self.item_rows.shape:
            raise ValueError(
                f"users and items must be two [n]; came {list(self.user_rows.shape)} and {list(self.item_rows.shape)}"
            )
        for name, rows, size in (("user", self.user_rows, self.num_users), ("item", self.item_rows, self.num_items)):
            if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < size:
                raise ValueError(f"{name} rows must be in [0, {size}); came {int(rows.min())} to {int(rows.max())}")

    def counts(self) -> Tensor:
        """Interactions of each item, int64 ``[N]``; repeats count."""
        return torch.bincount(self.item_rows, minlength=self.num_items)

    def distinct(self) -> Ragged:
        """The items of each user, ``[U]`` rows, ascending and each once: the binary user-item matrix."""
        pairs = torch.unique(self.user_rows.long() * self.num_items + self.item_rows)
        offsets = torch.zeros(self.num_users + 1, dtype=torch.int64)
        offsets[1:] = torch.bincount(pairs // self.num_items, minlength=self.num_users).cumsum(0)
        return Ragged(pairs % self.num_items, offsets)
