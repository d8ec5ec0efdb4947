"""Lists of recommended items as one array, and figures of which each list has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.ranks import FloatArray, IntArray

__all__ = ["ListValues", "checked_lists", "mean_per_list", "recommended_counts"]


@dataclass(frozen=True, eq=False)
class ListValues:
    """A figure of each list that has one; the others are left out, and counted.

    Attributes:
        queries: int64 ``[n]``, ascending: numbers of the lists, in ``[0, total)``.
        values: float64 ``[n]``: the figure of each.
        total: How many lists there were.

    Example:
        >>> found = ListValues(np.array([0, 2]), np.array([0.25, 0.75]), total=3)
        >>> found.mean, found.left_out
        (0.5, 1)
    """

    queries: IntArray
    values: FloatArray
    total: int

    @property
    def mean(self) -> float:
        """Mean over the lists that have the figure.

        Raises:
            ValueError: If none has.
        """
        if not self.values.size:
            raise ValueError(f"a mean needs a list that has the figure; came {self.total} lists, none of which has")
        return float(self.values.mean())

    @property
    def left_out(self) -> int:
        """Lists without the figure."""
        return self.total - int(self.queries.size)


def checked_lists(items_QK: NDArray[Any], catalogue_size: int) -> IntArray:
    """The lists as int64 ``[Q, K]``, after a check.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, best first; -1 stands for no item, wherever it stands.
        catalogue_size: N, at least 1.

    Raises:
        ValueError: If the shape or dtype is another, a row is outside of the catalogue, or a list has an item twice.
    """
    lists = np.asarray(items_QK)
    if lists.ndim != 2 or (lists.dtype.kind not in "iu" and lists.size):
        raise ValueError(f"lists must be integers of shape [Q, K]; came {lists.dtype} of shape {lists.shape}")
    if catalogue_size < 1:
        raise ValueError(f"the catalogue must have an item; came a catalogue of {catalogue_size}")
    if lists.size and not -1 <= lists.min() <= lists.max() < catalogue_size:
        came = f"{lists.min()} to {lists.max()}"
        raise ValueError(f"lists must hold catalogue rows, in [0, {catalogue_size}), or -1 for no item; came {came}")
    ordered = np.sort(lists, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        query = int(twice.argmax())
        raise ValueError(f"a list must hold an item once; list {query} is {lists[query].tolist()}")
    return lists.astype(np.int64, copy=False)


def recommended_counts(items_QK: NDArray[Any], catalogue_size: int) -> IntArray:
    """How many lists each item is in; int64 ``[N]``.

    Example:
        >>> recommended_counts(np.array([[1, 0], [1, -1]]), 3).tolist()
        [1, 2, 0]
    """
    lists = checked_lists(items_QK, catalogue_size)
    return np.bincount(lists[lists >= 0], minlength=catalogue_size).astype(np.int64, copy=False)


def mean_per_list(lists_QK: IntArray, values_N: FloatArray) -> ListValues:
    """Mean of a value of the items over each list that has an item.

    Args:
        lists_QK: As ``checked_lists`` gives them.
        values_N: float64 ``[N]``: the value of each catalogue row.
    """
    present_QK = lists_QK >= 0
    sums_Q = np.where(present_QK, values_N[lists_QK], 0.0).sum(axis=1)
    lengths_Q = present_QK.sum(axis=1)
    queries = np.flatnonzero(lengths_Q)
    return ListValues(queries, sums_Q[queries] / lengths_Q[queries], len(lists_QK))
