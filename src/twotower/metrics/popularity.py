"""How popular, and how surprising, the recommended items are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.lists import ListValues, checked_lists, mean_per_list
from twotower.metrics.ragged_array import RaggedArray
from twotower.metrics.ranks import FloatArray, IntArray

__all__ = ["PopularityLift", "novelty", "popularity_lift"]


class PopularityLift(NamedTuple):
    """Popularity of what is recommended beside that of what the same users consumed.

    Attributes:
        queries: int64 ``[n]``: the lists that have an item and whose user consumed one.
        recommended: float64 ``[n]``: mean count of the items of each list.
        consumed: float64 ``[n]``: mean count of the items that each list's user consumed.
        total: How many lists there were.
    """

    queries: IntArray
    recommended: FloatArray
    consumed: FloatArray
    total: int

    @property
    def lift(self) -> float:
        """Mean of ``recommended`` by mean of ``consumed``: 1 as popular as what users consume, 2 twice as popular.

        Raises:
            ValueError: If no query has both, or nothing consumed was ever counted.
        """
        if not self.queries.size:
            raise ValueError(f"a lift needs a list whose user consumed something; came {self.total} lists, none such")
        if not self.consumed.any():
            raise ValueError("a lift needs consumed items with a count; came counts of 0 for all of them")
        return float(self.recommended.mean() / self.consumed.mean())


def popularity_lift(items_QK: NDArray[Any], consumed: RaggedArray, counts_N: NDArray[Any]) -> PopularityLift:
    """Compare the popularity of lists with the popularity of what their users consumed.

    ``mean_q(mean of counts over list q) / mean_q(mean of counts over what q's user consumed)``, both means over the queries
    that have both. Abdollahpouri et al. (2020), who call the two means group average popularity and report the ratio less 1.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, -1 for no item.
        consumed: ``Q`` rows of catalogue rows: what each query's user consumed, as often as it is given.
        counts_N: Numbers ``[N]``, finite and not negative: train interactions of each item; any multiple of them gives the
            same lift.

    Raises:
        ValueError: If shapes or values do not fit.

    Example:
        >>> consumed = RaggedArray(np.array([0, 1, 1]), np.array([0, 2, 3]))
        >>> popularity_lift(np.array([[2], [2]]), consumed, np.array([1, 3, 5])).lift
        2.0
    """
    counts = _checked_counts(counts_N)
    lists_QK = checked_lists(items_QK, counts.size)
    if len(consumed) != len(lists_QK):
        raise ValueError(f"consumed must have a row for each list; came {len(consumed)} for {len(lists_QK)} lists")
    if consumed.values.size and consumed.values.max() >= counts.size:
        raise ValueError(f"consumed must hold catalogue rows, in [0, {counts.size}); came {consumed.values.max()}")
    recommended = mean_per_list(lists_QK, counts)
    lengths = consumed.lengths
    queries = recommended.queries[lengths[recommended.queries] > 0]
    sums = np.bincount(consumed.owners, counts[consumed.values], minlength=len(consumed))
    return PopularityLift(
        queries=queries,
        recommended=recommended.values[np.searchsorted(recommended.queries, queries)],
        consumed=sums[queries] / lengths[queries],
        total=len(lists_QK),
    )


def novelty(items_QK: NDArray[Any], counts_N: NDArray[Any]) -> ListValues:
    """Mean self-information of the items of each list, in bits: ``-log2 p(i)``, averaged over the list.

    ``p(i) = (c_i + 1) / (sum_j c_j + N)`` is the chance that a train interaction, drawn at random, is with item ``i``: the
    shares of train *rows* (not of users), with one row added to every item, so that an item which train lacks is as novel
    as can be and still finite. Zhou et al. (2010); Castells, Hurley and Vargas (2015), "free discovery". If all items are
    as frequent, every list has ``log2 N``.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, -1 for no item.
        counts_N: Numbers ``[N]``, finite and not negative: train interactions of each item.

    Returns:
        At least 0; lists without an item are left out.

    Raises:
        ValueError: If shapes or values do not fit.

    Example:
        >>> novelty(np.array([[0, -1], [1, 2]]), np.array([5, 2, 0])).values.round(4).tolist()
        [0.737, 2.5294]
    """
    counts = _checked_counts(counts_N)
    lists_QK = checked_lists(items_QK, counts.size)
    return mean_per_list(lists_QK, np.log2(counts.sum() + counts.size) - np.log2(counts + 1))


def _checked_counts(counts_N: NDArray[Any]) -> FloatArray:
    counts = np.asarray(counts_N, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"counts must be numbers of shape [N], finite and not negative; came shape {counts.shape}")
    return counts
