"""Metrics of each test interaction by itself: one value per row, in [0, 1], ready to be averaged or resampled.

With one relevant candidate per row, recall@k is the hit rate and the top-k accuracy.
"""

from __future__ import annotations

import numpy as np

from twotower.metrics.gains import check_k, discount_sums, harmonic_sums, mean_gain
from twotower.metrics.ranks import FloatArray, Ranks, Ties

__all__ = ["hit_rate", "ndcg", "reciprocal_rank"]


def hit_rate(ranks: Ranks, k: int, ties: Ties = "expected") -> FloatArray:
    """Probability that each positive is among the first ``k``: ``clip((k - above) / tied, 0, 1)``.

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

    A positive that is not in the catalogue is ranked behind it (``Ranks.unranked``): ``1 / (N + 1)`` without ``k``.

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
