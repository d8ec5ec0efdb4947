"""Running sums over positions, with which the expectation over a tie is one subtraction."""

from __future__ import annotations

import numpy as np

from twotower.metrics.ranks import FloatArray, IntArray

__all__ = ["check_k", "discount_sums", "harmonic_sums", "mean_gain"]


def discount_sums(k: int) -> FloatArray:
    """``[0, d_1, d_1 + d_2, ...]`` with ``d_r = 1 / log2(r + 1)``, shape ``[k + 1]``: DCG of ``r`` relevant in front."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2, dtype=np.float64)))])


def harmonic_sums(k: int) -> FloatArray:
    """``[0, 1, 1 + 1/2, ...]``, shape ``[k + 1]``."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, k + 1, dtype=np.float64))])


def mean_gain(above: IntArray, tied: IntArray, sums: FloatArray) -> FloatArray:
    """Mean gain over the positions ``above + 1`` to ``above + tied``; positions past the end of ``sums`` gain nothing."""
    last = sums.shape[0] - 1
    return np.asarray((sums[np.minimum(above + tied, last)] - sums[np.minimum(above, last)]) / tied, dtype=np.float64)


def check_k(k: int) -> None:
    """Raises: ValueError: If ``k`` is below 1."""
    if k < 1:
        raise ValueError(f"k must be at least 1; came {k}")
