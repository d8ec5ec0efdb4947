"""Rows of different lengths as two arrays: what a user consumed, which categories an item has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.ranks import IntArray

__all__ = ["RaggedArray"]


@dataclass(frozen=True, eq=False)
class RaggedArray:
    """Integer rows end to end; the NumPy twin of `twotower.types.Ragged`.

    Attributes:
        values: int64 ``[total]``, none negative.
        offsets: int64 ``[n + 1]``; row ``i`` is ``values[offsets[i]:offsets[i + 1]]``. Starts at 0, ends at ``total``.

    Raises:
        ValueError: If the arrays are not integers of one dimension, a value is negative, or the offsets do not rise from 0
            to ``total``.

    Example:
        >>> genres = RaggedArray(np.array([4, 0, 4]), np.array([0, 1, 1, 3]))
        >>> len(genres), genres.lengths.tolist(), genres.take(np.array([2, 0])).values.tolist()
        (3, [1, 0, 2], [0, 4, 4])
    """

    values: IntArray
    offsets: IntArray

    def __post_init__(self) -> None:
        for name in ("values", "offsets"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
                raise ValueError(f"{name} must be integers of one dimension; came {array.dtype} of shape {array.shape}")
            object.__setattr__(self, name, array.astype(np.int64, copy=False))
        total = self.values.size
        if not self.offsets.size or self.offsets[0] != 0 or self.offsets[-1] != total or (np.diff(self.offsets) < 0).any():
            ends = f"{self.offsets[0]} to {self.offsets[-1]}" if self.offsets.size else "none"
            raise ValueError(f"offsets must rise from 0 to {total}, the number of values; came {ends}")
        if total and self.values.min() < 0:
            raise ValueError(f"values must not be negative; came {self.values.min()}")

    @classmethod
    def from_mask(cls, mask_NC: NDArray[np.bool_]) -> RaggedArray:
        """The columns where each row of a bool array ``[n, c]`` is true, ascending.

        Example:
            >>> RaggedArray.from_mask(np.array([[True, False, True], [False, False, False]])).offsets.tolist()
            [0, 2, 2]
        """
        if mask_NC.ndim != 2 or mask_NC.dtype != np.bool_:
            raise ValueError(f"a mask must be bool of shape [n, c]; came {mask_NC.dtype} of shape {mask_NC.shape}")
        return cls(np.nonzero(mask_NC)[1], np.concatenate([[0], np.cumsum(mask_NC.sum(axis=1))]))

    def __len__(self) -> int:
        return int(self.offsets.size) - 1

    @property
    def lengths(self) -> IntArray:
        """int64 ``[n]``."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> IntArray:
        """int64 ``[total]``: the row that each value is of."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: NDArray[Any]) -> RaggedArray:
        """The given rows (integers ``[m]``), in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return RaggedArray(self.values[np.arange(offsets[-1]) + shift], offsets)

    def distinct(self) -> RaggedArray:
        """Each row with each of its values once, ascending."""
        owners = self.owners
        order = np.lexsort((self.values, owners))
        owners, values = owners[order], self.values[order]
        first = np.ones(values.size, dtype=bool)
        first[1:] = (owners[1:] != owners[:-1]) | (values[1:] != values[:-1])
        counts = np.bincount(owners[first], minlength=len(self))
        return RaggedArray(values[first], np.concatenate([[0], np.cumsum(counts)]))
