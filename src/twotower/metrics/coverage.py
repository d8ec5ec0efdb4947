"""How much of the catalogue is recommended at all, and how unevenly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.lists import recommended_counts

__all__ = ["catalogue_coverage", "gini"]


def catalogue_coverage(items_QK: NDArray[Any], catalogue_size: int) -> float:
    """Share of the catalogue that is in at least one list: distinct items recommended, by ``catalogue_size``.

    Herlocker et al. (2004); Ge et al. (2010). It grows with the number of lists and their length, so it compares rankers
    on the same queries at the same ``k`` only.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, -1 for no item.
        catalogue_size: N, at least 1: all that could have been recommended, whether train has it or not.

    Returns:
        In [0, 1]; 0 if no list has an item.

    Raises:
        ValueError: As in ``checked_lists``.

    Example:
        >>> catalogue_coverage(np.array([[1, 0], [1, -1]]), 4)
        0.5
    """
    return float(np.count_nonzero(recommended_counts(items_QK, catalogue_size)) / catalogue_size)


def gini(counts_N: NDArray[Any]) -> float:
    """Gini coefficient of how often each item is recommended: 0 all alike, ``(N - 1) / N`` one item gets everything.

    With the counts ascending, ``x_1 <= ... <= x_N``: ``sum_i (2 i - N - 1) x_i / (N sum_i x_i)``, which is half the mean
    absolute difference of two items by the mean. Items never recommended are part of it, as counts of 0: leaving them out
    would hide the long tail that it is about.

    Args:
        counts_N: Numbers ``[N]``, finite, none negative, not all 0: from ``recommended_counts``.

    Returns:
        In [0, 1); it does not change when all counts are multiplied by one number.

    Raises:
        ValueError: If the counts are not as above; how unevenly nothing is shared has no answer.

    Example:
        >>> gini(np.array([2, 2, 2, 2])), gini(np.array([0, 8, 0, 0]))
        (0.0, 0.75)
    """
    counts = np.asarray(counts_N, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"counts must be numbers of shape [N], finite and not negative; came shape {counts.shape}")
    size, total = counts.size, float(counts.sum())
    if total == 0:
        raise ValueError(f"counts must not all be 0; came {size} counts: nothing was recommended")
    places = np.arange(1, size + 1, dtype=np.float64)
    # rounding could leave a hair below 0 where all are alike
    return max(0.0, float(((2 * places - size - 1) * np.sort(counts)).sum() / (size * total)))
