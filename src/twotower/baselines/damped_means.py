"""Ratings predicted without a model: the mean, moved by how an item and a user differ from it, little where little is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DampedMeans"]


@dataclass(frozen=True)
class DampedMeans:
    """``mean + item offset + user offset``: what any model of ratings must beat.

    Funk (2006), Koren (2008), section 2.1 in its simple form: item offsets first, then those of users on what the items leave
    over. Each is a sum divided by ``count + damping``, so that an item or user without rows has an offset of 0.

    Attributes:
        mean: Over the fit rows.
        item_offsets: float64 ``[N]``.
        user_offsets: float64 ``[U]``.
        low: Smallest value of the fit rows; predictions are clipped to it.
        high: Largest value of the fit rows.
    """

    mean: float
    item_offsets: NDArray[np.float64]
    user_offsets: NDArray[np.float64]
    low: float
    high: float

    @classmethod
    def fit(
        cls,
        values: NDArray[np.float64],
        user_rows: NDArray[np.int64],
        item_rows: NDArray[np.int64],
        *,
        num_users: int,
        num_items: int,
        damping: float = 5.0,
    ) -> DampedMeans:
        """Fit offsets.

        Args:
            values: Ratings, float64 ``[n]``, finite, at least one.
            user_rows: int64 ``[n]``, in ``[0, num_users)``.
            item_rows: int64 ``[n]``, in ``[0, num_items)``.
            num_users: U.
            num_items: N.
            damping: Imagined rows at offset 0 that every item and user has besides its own; at least 0. With 0, an item or
                user without rows has an offset of 0 all the same.

        Raises:
            ValueError: If there is no row, or the damping is negative.

        Example:
            >>> values, users, items = np.array([5.0, 3.0, 1.0]), np.array([0, 0, 1]), np.array([0, 1, 1])
            >>> found = DampedMeans.fit(values, users, items, num_users=2, num_items=2, damping=1.0)
            >>> found.mean, found.item_offsets.round(2).tolist(), found.user_offsets.round(2).tolist()
            (3.0, [1.0, -0.67], [0.56, -0.67])
        """
        if not len(values) or damping < 0:
            raise ValueError(f"there must be rows to fit, and damping at least 0; came {len(values)} rows, damping {damping}")
        mean = float(values.mean())
        item_offsets = _damped(values - mean, item_rows, num_items, damping)
        user_offsets = _damped(values - mean - item_offsets[item_rows], user_rows, num_users, damping)
        return cls(mean, item_offsets, user_offsets, float(values.min()), float(values.max()))

    def predict(self, user_rows: NDArray[np.int64], item_rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The rating of each pair, float64 ``[n]``, in the range of the fit rows; arguments as for `fit`."""
        found = self.mean + self.item_offsets[item_rows] + self.user_offsets[user_rows]
        return np.clip(found, self.low, self.high)


def _damped(values: NDArray[np.float64], rows: NDArray[np.int64], size: int, damping: float) -> NDArray[np.float64]:
    sums, counts = np.bincount(rows, values, minlength=size), np.bincount(rows, minlength=size)
    return np.asarray(sums / np.maximum(counts + damping, np.finfo(np.float64).tiny), dtype=np.float64)
