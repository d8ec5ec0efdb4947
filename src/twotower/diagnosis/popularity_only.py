"""A model that gives everybody the popular items in the order of their popularity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.diagnosis.finding import Finding
from twotower.diagnosis.lift import Lift

__all__ = ["PopularityLikeness", "average_ranks", "check_popularity", "rank_correlation"]

_CORRELATION = 0.9
"""Mean rank correlation per query from which an order is that of popularity; sound models on MovieLens-100K have .4 to .7."""
_OVERLAP = 0.7
"""Or the share of the first ten items that are the ten most popular ones; sound models there have .1. The whole order must be
somewhat like popularity then, at least by"""
_SOMEWHAT = 0.5
"""a rank correlation of so much: among ties the first rows of the catalogue win, and those may be the popular ones."""


@dataclass(frozen=True, eq=False)
class PopularityLikeness:
    """How close a model's orders are to that of popularity.

    Attributes:
        correlations: float ``[Q]``, Spearman's rank correlation of a query's scores with the items' train counts.
        overlap: Mean share of a query's first ten items that are among the ten most popular ones.
        between: Mean share of the first ten items that two queries have in common.
        lift: The model beside popularity; None when it is not known.
    """

    correlations: NDArray[np.float64]
    overlap: float
    between: float
    lift: Lift | None = None


def check_popularity(evidence: PopularityLikeness) -> Finding | None:
    """Find a model that is popularity, or close to it: alike in the order, and no better in the figures."""
    mean = float(evidence.correlations.mean()) if len(evidence.correlations) else 0.0
    alike = mean >= _CORRELATION or (mean >= _SOMEWHAT and evidence.overlap >= _OVERLAP)
    if not alike or (evidence.lift is not None and evidence.lift.clear):
        return None
    found = [
        f"scores and train counts have a rank correlation of {mean:.2f} (mean over {len(evidence.correlations):,} queries), "
        "and "
        f"{evidence.overlap:.0%} of the first ten items are among the ten most popular ones",
        f"two queries have {evidence.between:.0%} of their first ten items in common",
    ]
    if evidence.lift is not None:
        found.append(evidence.lift.sentence())
    return Finding(
        code="popularity_only",
        severity="fault",
        title="The model is popularity: it recommends the same popular items to everybody",
        evidence=tuple(found),
        why="Counting would do the same for nothing: what the queries say of themselves is not used.",
        fix=(
            "query.features: give the query something that tells users apart: kind = 'history', the user's id, context",
            "training.epochs and training.optimizer.learning_rate: popularity is learned first; train for longer",
            "loss.kind = 'in_batch' with loss.log_q = false takes popularity out of the scores, if that is what is wanted",
        ),
    )


def average_ranks(values_MN: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1 along the last axis, equal values sharing the mean of theirs.

    Example:
        >>> average_ranks(np.array([[5.0, 1.0, 5.0]])).tolist()
        [[2.5, 1.0, 2.5]]
    """
    ranks_MN = np.empty(np.shape(values_MN), dtype=np.float64)
    for row, values_N in enumerate(values_MN):
        position_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)[1:]
        last = np.cumsum(counts)
        ranks_MN[row] = (last - (counts - 1) / 2)[position_N]
    return ranks_MN


def rank_correlation(scores_QN: NDArray[np.floating], counts_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """Spearman's rank correlation of each row with the counts, ``[Q]``; 0 where either does not vary.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]), np.array([4, 5, 6])).tolist()
        [1.0, -1.0]
    """
    ranks_QN = average_ranks(scores_QN)
    ranks_QN -= ranks_QN.mean(axis=1, keepdims=True)
    wanted_N = average_ranks(np.asarray(counts_N, dtype=np.float64)[None])[0]
    wanted_N -= wanted_N.mean()
    products_Q = ranks_QN @ wanted_N
    lengths_Q = np.sqrt((ranks_QN**2).sum(axis=1) * (wanted_N**2).sum())
    correlations_Q: NDArray[np.float64] = np.divide(products_Q, lengths_Q, out=np.zeros_like(products_Q), where=lengths_Q > 0)
    return correlations_Q
