"""Whether lists have the categories that their users have consumed, in the same shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.lists import ListValues, checked_lists
from twotower.metrics.ragged_array import RaggedArray
from twotower.metrics.ranks import FloatArray, IntArray

__all__ = ["calibration_divergence"]

_NUMBERS_AT_ONCE = 4_000_000
"""Numbers held at a time, 8 bytes each; what is found does not depend on it."""


def calibration_divergence(
    items_QK: NDArray[Any], histories: RaggedArray, categories: RaggedArray, *, smoothing: float = 0.01
) -> ListValues:
    """Divergence of the categories of each list from those of the user's history, in nats: 0 best.

    Steck (2018), equations 2, 3 and 5. ``p(c)`` is the share of category ``c`` in the history, ``q(c)`` its share in the list,
    where every item is worth 1, divided equally among its categories. ``KL(p || q~) = sum_c p(c) ln(p(c) / q~(c))`` with
    ``q~ = (1 - a) q + a p``, so that a category which the list lacks costs much but not infinitely much: the divergence is
    at most ``-ln a``, which is 4.605 for ``a = .01``. Positions in list and history weigh alike.

    Args:
        items_QK: Integers ``[Q, K]``: catalogue rows, -1 for no item.
        histories: ``Q`` rows of catalogue rows: what each query's user consumed; an item that is given twice counts twice.
        categories: ``N`` rows: the categories of each item, as integers; one that is given twice counts once. Items without
            a category are passed over, in the list and in the history.
        smoothing: ``a`` above, in (0, 1).

    Returns:
        In ``[0, -ln a]``; queries are left out whose history or list has no item with a category.

    Raises:
        ValueError: If shapes or values do not fit.

    Example:
        >>> genre = RaggedArray(np.array([0, 1, 0]), np.arange(4))
        >>> histories = RaggedArray(np.array([0, 1, 0, 1]), np.array([0, 2, 4]))
        >>> calibration_divergence(np.array([[2, 1], [0, 2]]), histories, genre).values.round(4).tolist()
        [0.0, 1.9585]
    """
    lists_QK = checked_lists(items_QK, len(categories))
    if not 0 < smoothing < 1:
        raise ValueError(f"smoothing must be in (0, 1); came {smoothing}")
    if len(histories) != len(lists_QK):
        raise ValueError(f"histories must have a row for each list; came {len(histories)} for {len(lists_QK)} lists")
    if histories.values.size and histories.values.max() >= len(categories):
        raise ValueError(f"histories must hold catalogue rows, in [0, {len(categories)}); came {histories.values.max()}")
    sets = categories.distinct()
    num_categories = int(sets.values.max(initial=0)) + 1
    block = max(1, _NUMBERS_AT_ONCE // num_categories)
    queries: list[IntArray] = [np.empty(0, dtype=np.int64)]
    values: list[FloatArray] = [np.empty(0)]
    for start in range(0, len(lists_QK), block):
        chosen_BK = lists_QK[start : start + block]
        size = len(chosen_BK)
        past = histories.take(np.arange(start, start + size))
        owners, places = np.nonzero(chosen_BK >= 0)
        p_BC = _shares(past.owners, past.values, sets, size, num_categories)
        q_BC = _shares(owners, chosen_BK[owners, places], sets, size, num_categories)
        kept = np.flatnonzero(p_BC.any(axis=1) & q_BC.any(axis=1))
        p_BC, q_BC = p_BC[kept], q_BC[kept]
        ratio_BC = np.divide(p_BC, (1 - smoothing) * q_BC + smoothing * p_BC, out=np.ones_like(p_BC), where=p_BC > 0)
        queries.append(kept + start)
        values.append((p_BC * np.log(ratio_BC)).sum(axis=1))
    return ListValues(np.concatenate(queries), np.maximum(np.concatenate(values), 0.0), len(lists_QK))


def _shares(owners: IntArray, items: IntArray, sets: RaggedArray, size: int, num_categories: int) -> FloatArray:
    """Share of each category among each owner's items, float64 ``[size, C]``; a row of zeros where there is no category."""
    own = sets.take(items)
    weights = (1 / np.maximum(own.lengths, 1))[own.owners]
    cells = owners[own.owners] * num_categories + own.values
    sums_BC = np.bincount(cells, weights, minlength=size * num_categories).reshape(size, num_categories)
    totals_B1 = sums_BC.sum(axis=1, keepdims=True)
    return np.asarray(sums_BC / np.where(totals_B1 > 0, totals_B1, 1.0), dtype=np.float64)
