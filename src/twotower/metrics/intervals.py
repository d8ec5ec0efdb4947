"""How far a figure can be trusted: bootstrap over users, paired differences, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower.metrics.ranks import FloatArray, IntArray

__all__ = [
    "Difference",
    "Interval",
    "bootstrap_interval",
    "bootstrap_ratio",
    "holm",
    "nested_difference",
    "nested_differences",
    "paired_difference",
]

_DRAWN_AT_ONCE = 2_000_000
"""Users drawn at a time, 24 bytes each; what is drawn does not depend on it."""


class Interval(NamedTuple):
    """A figure and its percentile interval; float64, shape ``[]`` for one metric and ``[m]`` for several."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray


class Difference(NamedTuple):
    """``a - b``, its percentile interval, and the two-sided bootstrap p-value of no difference; shapes as in ``Interval``."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray
    p_value: FloatArray


def bootstrap_interval(
    values: FloatArray,
    users: IntArray,
    *,
    seed: int,
    weights: FloatArray | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Mean over rows, with the interval that comes from drawing other users.

    A draw takes as many users as there are, with replacement, and all of their rows: rows of one user are alike, so
    resampling rows would give intervals that are too narrow. The figure is ``sum(weight * value) / sum(weight)`` over the
    rows drawn. Efron and Tibshirani (1993), chapter 13 (percentile interval).

    Args:
        values: Shape ``[n]``, or ``[n, m]`` for ``m`` metrics, which share their draws; finite.
        users: Integers ``[n]``: the user of each row.
        seed: Of ``numpy.random.default_rng``; the same rows, users, seed and draws give the same interval.
        weights: Shape ``[n]``, not negative. Rows of weight 0 are left out first. None: 1 each.
        draws: At least 1.
        level: Coverage, in (0, 1).

    Returns:
        The interval; it has no width when there is one user.

    Raises:
        ValueError: If there is no row to average, a value is not finite, or shapes do not fit.

    Example:
        >>> values, users = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 2])
        >>> interval = bootstrap_interval(values, users, seed=0)
        >>> float(interval.mean), float(interval.low), float(interval.high)
        (0.5, 0.0, 1.0)
    """
    mean_SM, drawn_TSM = _resample([values], users, weights, seed, draws)
    low, high = _percentiles(drawn_TSM[:, 0], level)
    shape = np.shape(values)[1:]
    return Interval(mean_SM[0].reshape(shape), low.reshape(shape), high.reshape(shape))


def bootstrap_ratio(
    values: FloatArray,
    reference: FloatArray,
    users: IntArray,
    *,
    seed: int,
    draws: int = 1000,
    level: float = 0.95,
) -> Interval:
    """What share of a reference's mean another mean is, with the interval that comes from drawing other users for both.

    Args:
        values: Shape ``[n]``, finite.
        reference: The same of what they are compared with, row for row; of a mean above 0.
        users: Integers ``[n]``: the user of each row.
        seed: As in ``bootstrap_interval``.
        draws: At least 1; a draw in which the reference's mean is 0 has no ratio and is left out. Where all are, the ends of
            the interval are NaN.
        level: Coverage, in (0, 1).

    Raises:
        ValueError: As in ``bootstrap_interval``, or if the reference's mean is not above 0.

    Example:
        >>> users = np.arange(4)
        >>> ratio = bootstrap_ratio(np.array([1.0, 0.5, 0.0, 0.5]), np.ones(4), users, seed=0)
        >>> float(ratio.mean), bool(ratio.low < 0.5 < ratio.high)
        (0.5, True)
    """
    means_SM, drawn_TSM = _resample([values, reference], users, None, seed, draws)
    if not means_SM[1, 0] > 0:
        raise ValueError(f"the reference's mean must be above 0; came {means_SM[1, 0]}")
    whole = drawn_TSM[:, 1, 0] > 0
    if not whole.any():
        return Interval(means_SM[0, 0] / means_SM[1, 0], np.array(np.nan), np.array(np.nan))
    ratios_T1 = drawn_TSM[whole, 0] / drawn_TSM[whole, 1]
    low, high = _percentiles(ratios_T1, level)
    return Interval(means_SM[0, 0] / means_SM[1, 0], low[0], high[0])


def paired_difference(
    values_a: FloatArray,
    values_b: FloatArray,
    users: IntArray,
    *,
    seed: int,
    weights: FloatArray | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Difference of two rankers' means on the same rows, both seeing the same draws of users.

    Arguments, errors and result as in ``nested_difference``, with one training seed each.

    Example:
        >>> better, worse, users = np.array([0.9, 0.8, 0.7]), np.array([0.5, 0.5, 0.6]), np.arange(3)
        >>> difference = paired_difference(better, worse, users, seed=0)
        >>> bool(difference.low > 0)
        True
    """
    return nested_difference([values_a], [values_b], users, seed=seed, weights=weights, draws=draws, level=level)


def nested_difference(
    values_a: Sequence[FloatArray],
    values_b: Sequence[FloatArray],
    users: IntArray,
    *,
    seed: int,
    weights: FloatArray | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Difference of two rankers that were each trained with several seeds: a draw takes users, and seeds of each.

    Args:
        values_a: One array of values per training seed, each as in ``bootstrap_interval``, row for row.
        values_b: Those of the other ranker; the number of seeds may differ.
        users: As in ``bootstrap_interval``, and so are the other arguments.
        seed: Of the draws, not of the training.
        weights: Shape ``[n]``, not negative, or None.
        draws: At least 1.
        level: Coverage, in (0, 1).

    Returns:
        The difference of the means over seeds. The p-value is ``2 min(P(d <= 0), P(d >= 0))`` over the draws with one
        added to both parts of each fraction, so it is at least ``2 / (draws + 1)``; at most 1. With ``U`` users it is at least
        ``2 ** (1 - U)`` too, the chance that a fair coin falls alike for all of them: draws of a few users differ little, and
        the bootstrap alone would find any difference of one user proven.

    Raises:
        ValueError: As in ``bootstrap_interval``, or if a ranker has no seed or shapes differ.
    """
    return nested_differences([values_a, values_b], users, [(0, 1)], seed=seed, weights=weights, draws=draws, level=level)[0]


def nested_differences(
    values: Sequence[Sequence[FloatArray]],
    users: IntArray,
    pairs: Sequence[tuple[int, int]],
    *,
    seed: int,
    weights: FloatArray | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> list[Difference]:
    """Differences of several pairs of rankers, all from the same draws of users and seeds; see ``nested_difference``.

    Args:
        values: Per ranker, one array of values per training seed.
        users: As in ``bootstrap_interval``, and so are the other arguments.
        pairs: Positions in ``values``: ``(a, b)`` asks for ``a - b``.
        seed: Of the draws, not of the training.
        weights: Shape ``[n]``, not negative, or None.
        draws: At least 1.
        level: Coverage, in (0, 1).

    Returns:
        One per pair.

    Raises:
        ValueError: As in ``nested_difference``.

    Example:
        >>> best, worst, users = np.array([0.9, 0.8]), np.array([0.1, 0.2]), np.arange(2)
        >>> [bool(found.low > 0) for found in nested_differences([[best], [worst]], users, [(0, 1), (1, 0)], seed=0)]
        [True, False]
    """
    counts = [len(of_seeds) for of_seeds in values]
    if not all(counts):
        raise ValueError(f"each ranker needs the values of at least one seed; came {' and '.join(map(str, counts))}")
    mean_SM, drawn_TSM = _resample([each for of_seeds in values for each in of_seeds], users, weights, seed, draws)
    # a generator of its own, so that the users drawn are those of bootstrap_interval
    rng = np.random.default_rng([seed, 1])
    ends = np.cumsum(counts)
    places = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    means = [mean_SM[place].mean(0) for place in places]
    drawn = [_draw_seeds(drawn_TSM[:, place], rng) for place in places]
    shape = np.shape(values[0][0])[1:]
    num_users = np.unique(users if weights is None else users[np.asarray(weights) > 0]).size
    least = 0.5 ** (num_users - 1)

    def difference(a: int, b: int) -> Difference:
        drawn_TM = drawn[a] - drawn[b]
        low, high = _percentiles(drawn_TM, level)
        at_most, at_least = ((1 + side.sum(axis=0)) / (draws + 1) for side in (drawn_TM <= 0, drawn_TM >= 0))
        p_value = np.clip(2 * np.minimum(at_most, at_least), least, 1.0)
        figures = (means[a] - means[b], low, high, p_value)
        return Difference(*(figure.reshape(shape) for figure in figures))

    return [difference(a, b) for a, b in pairs]


def holm(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """P-values adjusted for the number of comparisons, so that the chance of *any* false finding stays at the level.

    Holm (1979), step-down: the ``i``-th smallest of ``n`` is multiplied by ``n - i + 1``; none is below a smaller one's.

    Args:
        p_values: ``n`` numbers in [0, 1], in any order.

    Returns:
        float64 ``[n]`` in the given order, in [0, 1]; compare them with the level as they are.

    Raises:
        ValueError: If one is not in [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"p-values must be numbers in [0, 1], shape [n]; came {given.tolist()}")
    order = np.argsort(given, kind="stable")
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1)), 1.0)
    return adjusted


def _resample(
    values: Sequence[FloatArray], users: IntArray, weights: FloatArray | None, seed: int, draws: int
) -> tuple[FloatArray, FloatArray]:
    """Means of each set of values ``[s, m]``, and those of each draw of users ``[draws, s, m]``."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1; came {draws}")
    totals_UK = _user_totals(values, np.asarray(users), weights)
    num_users = totals_UK.shape[0]
    rng = np.random.default_rng(seed)
    at_once = max(1, min(draws, _DRAWN_AT_ONCE // num_users))
    sums: list[FloatArray] = [totals_UK.sum(axis=0, keepdims=True)]
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        drawn_TU = rng.integers(0, num_users, size=(size, num_users))
        drawn_TU += np.arange(size)[:, None] * num_users
        counts_TU = np.bincount(drawn_TU.reshape(-1), minlength=size * num_users).reshape(size, num_users)
        sums.append(counts_TU.astype(np.float64) @ totals_UK)
    sums_TK = np.concatenate(sums)
    figures_TSM = (sums_TK[:, :-1] / sums_TK[:, -1:]).reshape(draws + 1, len(values), math.prod(np.shape(values[0])[1:]))
    return figures_TSM[0], figures_TSM[1:]


def _user_totals(values: Sequence[FloatArray], users: IntArray, weights: FloatArray | None) -> FloatArray:
    """Per user, the sums of weight * value of each set and metric, side by side, and last the sum of weights."""
    shapes = {np.shape(each) for each in values}
    if len(shapes) > 1:
        raise ValueError(f"paired values must have one shape, row for row; came {sorted(shapes)}")
    (shape,) = shapes
    if len(shape) not in (1, 2) or users.shape != shape[:1] or (weights is not None and np.shape(weights) != shape[:1]):
        came = f"{shape}, {users.shape} and {None if weights is None else np.shape(weights)}"
        raise ValueError(f"values [n] or [n, m], users [n] and weights [n] or None must fit; came {came}")
    values_NK = np.concatenate(
        [np.asarray(each, dtype=np.float64).reshape(shape[0], math.prod(shape[1:])) for each in values], 1
    )
    weights_N = np.ones(shape[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values_NK).all(axis=1))
    if wrong.size:
        raise ValueError(f"values must be finite; came {values_NK[wrong[0]]} at row {wrong[0]}")
    wrong = np.flatnonzero(~np.isfinite(weights_N) | (weights_N < 0))
    if wrong.size:
        raise ValueError(f"weights must be finite and not negative; came {weights_N[wrong[0]]} at row {wrong[0]}")
    counted = weights_N > 0
    if not counted.any():
        raise ValueError(f"there must be a row of weight above 0 to average; came {shape[0]} rows, none of them")
    _, owners = np.unique(users[counted], return_inverse=True)
    columns_NK = values_NK[counted] * weights_N[counted, None]
    return np.stack([np.bincount(owners, column) for column in (*columns_NK.T, weights_N[counted])], axis=1)


def _draw_seeds(figures_TSM: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mean over seeds drawn with replacement, anew for every draw of users: one fewer than there are.

    Means of S draws from S seeds vary less than means of S seeds do: a third of the variance is missing for 3 seeds. With S - 1
    draws none is (Rao and Wu, 1988). Of one seed nothing can be drawn: its spread is not known.
    """
    num_draws, num_seeds = figures_TSM.shape[:2]
    drawn_TS = rng.integers(0, num_seeds, size=(num_draws, max(1, num_seeds - 1)))
    return np.asarray(np.take_along_axis(figures_TSM, drawn_TS[:, :, None], axis=1).mean(axis=1), dtype=np.float64)


def _percentiles(figures_TM: FloatArray, level: float) -> FloatArray:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1); came {level}")
    return np.quantile(figures_TM, [(1 - level) / 2, (1 + level) / 2], axis=0)
