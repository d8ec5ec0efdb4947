"""How unlike each other the items of a list are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.lists import ListValues, checked_lists
from twotower.metrics.ragged_array import RaggedArray
from twotower.metrics.ranks import FloatArray, IntArray

__all__ = ["intra_list_diversity_by_categories", "intra_list_diversity_by_vectors"]

_NUMBERS_AT_ONCE = 4_000_000
"""Numbers held at a time, 8 bytes each; what is found does not depend on it."""


def intra_list_diversity_by_vectors(items_QK: NDArray[Any], vectors_ND: NDArray[Any]) -> ListValues:
    """Mean of ``1 - cosine`` over the pairs of each list: 0 all alike, 1 at right angles, 2 at most (a pair of opposites).

    Ziegler et al. (2005) over pairs, Smyth and McClave (2001) as a dissimilarity. With unit vectors ``u_i`` of the ``n``
    items, the cosines of all pairs add up to ``(|sum u_i|^2 - sum |u_i|^2) / 2``, so a list costs ``O(n D)``.

    A vector of zeros has no direction: it counts as at right angles to every other.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, -1 for no item.
        vectors_ND: Finite floats ``[N, D]``: of the catalogue. The model's own tell what it holds to be alike; vectors of
            another source compare models.

    Returns:
        In [0, 2]; lists with fewer than two items are left out.

    Raises:
        ValueError: If shapes or values do not fit.

    Example:
        >>> vectors_ND = np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
        >>> intra_list_diversity_by_vectors(np.array([[0, 1], [0, 2], [1, -1]]), vectors_ND).values.tolist()
        [1.0, 0.0]
    """
    vectors = np.asarray(vectors_ND)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise ValueError(f"vectors must be finite floats of shape [N, D]; came {vectors.dtype} of shape {vectors.shape}")
    lists_QK = checked_lists(items_QK, len(vectors))
    queries = _with_pairs(lists_QK)
    values = np.empty(queries.size)
    block = max(1, _NUMBERS_AT_ONCE // max(1, lists_QK.shape[1] * vectors.shape[1]))
    for start in range(0, queries.size, block):
        chosen_BK = lists_QK[queries[start : start + block]]
        units_BKD = _unit(vectors[chosen_BK].astype(np.float64))
        units_BKD[chosen_BK < 0] = 0.0
        cosines_B = ((units_BKD.sum(axis=1) ** 2).sum(axis=1) - (units_BKD**2).sum(axis=(1, 2))) / 2
        values[start : start + block] = 1 - cosines_B / _pairs(chosen_BK)
    return ListValues(queries, np.clip(values, 0.0, 2.0), len(lists_QK))


def intra_list_diversity_by_categories(items_QK: NDArray[Any], categories: RaggedArray) -> ListValues:
    """Mean of ``1 - Jaccard`` over the pairs of each list: 0 the same categories, 1 none in common.

    The Jaccard index of two items is the number of categories that both have by the number that either has. Two items of
    which neither has a category are alike (0): nothing tells them apart.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, -1 for no item.
        categories: ``N`` rows: the categories of each item, as integers; one that is given twice counts once. A single
            column ``c_N`` is ``RaggedArray(c_N, np.arange(N + 1))``, a bool table ``RaggedArray.from_mask(table_NC)``.

    Returns:
        In [0, 1]; lists with fewer than two items are left out.

    Raises:
        ValueError: If shapes or values do not fit.

    Example:
        >>> genres = RaggedArray(np.array([0, 1, 1, 2]), np.array([0, 2, 3, 4]))
        >>> intra_list_diversity_by_categories(np.array([[0, 1], [1, 2]]), genres).values.tolist()
        [0.5, 1.0]
    """
    lists_QK = checked_lists(items_QK, len(categories))
    queries = _with_pairs(lists_QK)
    values = np.empty(queries.size)
    # in one list there are few categories of the many that a catalogue can have
    width = int(categories.lengths.max(initial=0)) * lists_QK.shape[1]
    block = max(1, _NUMBERS_AT_ONCE // max(1, lists_QK.shape[1] * (width + lists_QK.shape[1])))
    for start in range(0, queries.size, block):
        chosen_BK = lists_QK[queries[start : start + block]]
        values[start : start + block] = _jaccard_distances(chosen_BK, categories) / _pairs(chosen_BK)
    return ListValues(queries, np.clip(values, 0.0, 1.0), len(lists_QK))


def _jaccard_distances(chosen_BK: IntArray, categories: RaggedArray) -> FloatArray:
    """Sum of ``1 - Jaccard`` over the pairs of each list."""
    num_lists, length = chosen_BK.shape
    places = np.flatnonzero(chosen_BK >= 0)
    own = categories.take(chosen_BK.reshape(-1)[places])
    place = places[own.owners]
    # categories are numbered anew in each list, so that the table is as wide as a list's categories and no wider
    number = int(own.values.max(initial=0)) + 1
    pairs, column = np.unique(place // length * number + own.values, return_inverse=True)
    first_of_list = np.searchsorted(pairs, np.arange(num_lists) * number)
    widest = int(np.diff(first_of_list, append=pairs.size).max(initial=0))
    has_BKC = np.zeros((num_lists, length, widest))
    has_BKC.reshape(num_lists * length, widest)[place, column.reshape(-1) - first_of_list[place // length]] = 1.0
    both_BKK = has_BKC @ has_BKC.transpose(0, 2, 1)
    sizes_BK = has_BKC.sum(axis=2)
    either_BKK = sizes_BK[:, :, None] + sizes_BK[:, None, :] - both_BKK
    distances_BKK = np.where(either_BKK > 0, 1 - both_BKK / np.maximum(either_BKK, 1), 0.0)
    present_BK = chosen_BK >= 0
    distances_BKK *= present_BK[:, :, None] & present_BK[:, None, :]
    return np.asarray(distances_BKK.sum(axis=(1, 2)) / 2, dtype=np.float64)


def _with_pairs(lists_QK: IntArray) -> IntArray:
    return np.flatnonzero((lists_QK >= 0).sum(axis=1) >= 2)


def _pairs(lists_QK: IntArray) -> IntArray:
    lengths = (lists_QK >= 0).sum(axis=1)
    return np.asarray(lengths * (lengths - 1) // 2, dtype=np.int64)


def _unit(vectors: FloatArray) -> FloatArray:
    """Vectors of length 1, or of zeros; scaled first, so that no square leaves the range of float64."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0.0)
    scaled = vectors / np.where(largest > 0, largest, 1.0)
    norms = np.sqrt((scaled**2).sum(axis=-1, keepdims=True))
    return np.asarray(scaled / np.where(norms > 0, norms, 1.0), dtype=np.float64)
