"""Metrics of each test interaction by itself: one value per row, in [0, 1], ready to be averaged or resampled.

With one relevant candidate per row, recall@k is the hit rate and the top-k accuracy; NDCG@k has an ideal of 1; MAP@k is
MRR@k. Other positives of the user compete like any item.

The same for all of them: ``rank`` is the position of the positive, from 1. Where it is tied, a value is the mean over the
positions ``above + 1`` to ``above + tied``. A catalogue of fewer than ``k`` items makes lists of that length; no
denominator changes. A positive that is not in the catalogue is ranked behind it (``Ranks.unranked``), a miss at every ``k``
up to the catalogue's size. No rows give no values.
"""

from __future__ import annotations

import numpy as np

from twotower.metrics.gains import check_k, discount_sums, harmonic_sums, mean_gain
from twotower.metrics.ranks import FloatArray, Ranks, Ties

__all__ = ["average_precision", "hit_rate", "ndcg", "precision", "reciprocal_rank"]


def hit_rate(ranks: Ranks, k: int, ties: Ties = "expected") -> FloatArray:
    """1 where ``rank <= k``, else 0; expected: ``clip((k - above) / tied, 0, 1)``, the chance to be among the first ``k``.

    This is recall@k too: hits by relevant items, of which there is one.

    Args:
        ranks: ``n`` positives.
        k: At least 1.
        ties: ``optimistic`` counts ``above < k`` (as TensorFlow's in-top-k does: a model that scores all alike gets 1);
            ``pessimistic`` counts ``above + tied <= k``.

    Returns:
        float64 ``[n]``.

    Example:
        >>> hit_rate(Ranks(np.array([0, 9, 9]), np.array([1, 1, 4])), k=10).tolist()
        [1.0, 1.0, 0.25]
    """
    check_k(k)
    ranks = ranks.resolve(ties)
    return np.clip((k - ranks.above) / ranks.tied, 0.0, 1.0)


def precision(ranks: Ranks, k: int, ties: Ties = "expected") -> FloatArray:
    """Hits by ``k``: ``hit_rate / k``, hence at most ``1 / k``.

    The denominator is ``k`` where fewer than ``k`` items exist too. Ties as in ``hit_rate``.

    Returns:
        float64 ``[n]``.

    Example:
        >>> precision(Ranks(np.array([0, 9]), np.array([1, 1])), k=4).tolist()
        [0.25, 0.0]
    """
    return hit_rate(ranks, k, ties) / k


def ndcg(ranks: Ranks, k: int, ties: Ties = "expected") -> FloatArray:
    """Normalised discounted cumulative gain with one relevant candidate: ``1 / log2(rank + 1)`` within the first ``k``.

    Järvelin and Kekäläinen (2002); the ideal has the positive in front, so it is 1. Ties as in ``hit_rate``; expected
    means the mean over the positions that the positive can have.

    Returns:
        float64 ``[n]``.

    Example:
        >>> ndcg(Ranks(np.array([0, 2, 9]), np.array([1, 1, 1])), k=3).round(4).tolist()
        [1.0, 0.5, 0.0]
    """
    check_k(k)
    ranks = ranks.resolve(ties)
    return mean_gain(ranks.above, ranks.tied, discount_sums(k))


def reciprocal_rank(ranks: Ranks, k: int | None = None, ties: Ties = "expected") -> FloatArray:
    """``1 / rank``, and 0 past position ``k`` where one is given; ties as in ``ndcg``.

    Voorhees (1999). Without ``k``, a positive that is not in the catalogue of ``N`` items has ``1 / (N + 1)``.

    Returns:
        float64 ``[n]``; its mean is the MRR.

    Example:
        >>> reciprocal_rank(Ranks(np.array([0, 1]), np.array([1, 2]))).round(4).tolist()
        [1.0, 0.4167]
    """
    if k is not None:
        check_k(k)
    ranks = ranks.resolve(ties)
    last = int((ranks.above + ranks.tied).max(initial=0)) if k is None else k
    return mean_gain(ranks.above, ranks.tied, harmonic_sums(last))


def average_precision(ranks: Ranks, k: int, ties: Ties = "expected") -> FloatArray:
    """Precision at the positive, if it is among the first ``k``, by ``min(k, 1)``: the reciprocal rank cut at ``k``.

    Returns:
        float64 ``[n]``; its mean is MAP@k.

    Example:
        >>> average_precision(Ranks(np.array([1, 9]), np.array([1, 1])), k=4).tolist()
        [0.5, 0.0]
    """
    return reciprocal_rank(ranks, k, ties)
