"""Errors of predicted outcomes (ratings): RMSE and MAE per interaction, with intervals over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twotower.metrics.intervals import Difference, bootstrap_interval, paired_difference
from twotower.metrics.ranks import FloatArray, IntArray

__all__ = ["RatingErrors", "rating_errors", "squared_error_difference"]


@dataclass(frozen=True)
class RatingErrors:
    """How far predictions are off, in the units of the outcome; smaller is better.

    Attributes:
        rmse: ``sqrt(mean of (prediction - value)^2)``, the mean over rows.
        mae: ``mean of |prediction - value|``.
        rmse_interval: Low and high end; None where none was asked for.
        mae_interval: Likewise.
    """

    rmse: float
    mae: float
    rmse_interval: tuple[float, float] | None = None
    mae_interval: tuple[float, float] | None = None


def rating_errors(
    predictions: FloatArray, values: FloatArray, users: IntArray, *, draws: int = 1000, seed: int = 0
) -> RatingErrors:
    """RMSE and MAE of predictions, each row counting once.

    Args:
        predictions: Float ``[n]``, finite.
        values: What was observed, float ``[n]``, finite.
        users: Integers ``[n]``: the user of each row.
        draws: Bootstrap draws over users for the 95% intervals, see ``bootstrap_interval``; 0 computes none. That of the RMSE
            is the root of the interval of the mean squared error, since a root keeps the order of the draws.
        seed: Of the bootstrap.

    Raises:
        ValueError: If there is no row, a value is not finite, or shapes do not fit.

    Example:
        >>> found = rating_errors(np.array([3.0, 3.0, 3.0]), np.array([3.0, 4.0, 1.0]), np.array([0, 0, 1]), draws=0)
        >>> round(found.rmse, 4), found.mae
        (1.291, 1.0)
    """
    columns_NM = _errors(predictions, values)
    if users.shape != values.shape:
        raise ValueError(f"users must have one entry per row; came {users.shape} for {values.shape}")
    squared, absolute = columns_NM.mean(axis=0)
    if not draws:
        return RatingErrors(float(np.sqrt(squared)), float(absolute))
    found = bootstrap_interval(columns_NM, users, draws=draws, seed=seed)
    ends = np.stack([found.low, found.high])
    return RatingErrors(
        rmse=float(np.sqrt(squared)),
        mae=float(absolute),
        rmse_interval=(float(np.sqrt(ends[0, 0])), float(np.sqrt(ends[1, 0]))),
        mae_interval=(float(ends[0, 1]), float(ends[1, 1])),
    )


def squared_error_difference(
    first: FloatArray, second: FloatArray, values: FloatArray, users: IntArray, *, draws: int = 1000, seed: int = 0
) -> Difference:
    """Mean squared error of the first predictions minus that of the second on the same rows, paired over draws of users.

    Below 0 the first is better. Its sign is that of the difference of the RMSEs, in every draw too: the test is the same.

    Args:
        first: Predictions, float ``[n]``.
        second: Predictions of another kind, float ``[n]``.
        values: What was observed, float ``[n]``.
        users: Integers ``[n]``.
        draws: At least 1.
        seed: Of the bootstrap.

    Raises:
        ValueError: As `rating_errors`.
    """
    ours, theirs = (_errors(predictions, values)[:, 0] for predictions in (first, second))
    return paired_difference(ours, theirs, users, draws=draws, seed=seed)


def _errors(predictions: FloatArray, values: FloatArray) -> FloatArray:
    """Squared and absolute error of each row, ``[n, 2]``."""
    if predictions.shape != values.shape or values.ndim != 1 or not len(values):
        raise ValueError(
            f"predictions [n] and values [n] must fit, with at least one row; came {predictions.shape} and {values.shape}"
        )
    off = np.asarray(predictions, dtype=np.float64) - np.asarray(values, dtype=np.float64)
    if not np.isfinite(off).all():
        raise ValueError(f"predictions and values must be finite; row {int(np.flatnonzero(~np.isfinite(off))[0])} is not")
    return np.stack([off**2, np.abs(off)], axis=1)
