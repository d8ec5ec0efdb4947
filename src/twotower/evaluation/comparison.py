"""Rankers side by side on the same rows: means with intervals, and whether one is better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.metrics import holm, nested_differences

__all__ = ["Compared", "RankerMean", "compare_rankers", "ranker_means"]

_DRAWS_PER_COMPARISON = 200
"""So that with many comparisons the smallest p-value that the draws allow stays well below the corrected level."""

_LEVEL = 0.05


@dataclass(frozen=True)
class RankerMean:
    """A ranker's figure.

    Attributes:
        mean: Over rows and training seeds.
        low: Of the 95% interval over users, training seeds nested.
        high: The other end.
        seeds: The mean of each training seed.
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Compared:
    """A paired comparison of two rankers.

    Attributes:
        first: Name of the one with the higher mean.
        second: Name of the other.
        difference: ``first - second``.
        low: Of the 95% interval over users, training seeds nested.
        high: The other end.
        p_value: Of no difference, two-sided, as the bootstrap has it.
        p_holm: The same, corrected for all comparisons that were made together.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float

    @property
    def better(self) -> bool:
        """Whether ``first`` is better: the interval excludes 0, and so does the test once corrected for the others."""
        return self.low > 0 and self.p_holm < _LEVEL

    def sentence(self) -> str:
        """What may be said.

        Example:
            >>> Compared("[64, 32]", "[32]", 0.021, 0.017, 0.025, 0.002, 0.004).sentence()
            '[64, 32] is better than [32] by .0210 +- .0040'
            >>> Compared("deep", "flat", 0.002, -0.003, 0.007, 0.4, 0.4).sentence()
            'deep and flat: no difference that this test set can show (+.0020, 95% from -.0030 to +.0070; corrected p = .40)'
        """
        if self.better:
            spread = _figure((self.high - self.low) / 2)
            return f"{self.first} is better than {self.second} by {_figure(self.difference)} +- {spread}"
        ends = f"{_figure(self.difference, signed=True)}, 95% from {_figure(self.low, signed=True)} to"
        said = f"{self.first} and {self.second}: no difference that this test set can show"
        chance = f"{self.p_holm:.2f}".replace("0.", ".", 1)
        return f"{said} ({ends} {_figure(self.high, signed=True)}; corrected p = {chance})"


def ranker_means(
    values: Mapping[str, Sequence[NDArray[np.float64]]], users: NDArray[np.int64], *, seed: int, draws: int = 1000
) -> dict[str, RankerMean]:
    """The mean of each ranker with its interval.

    Args:
        values: By ranker: a metric of each row, float64 ``[n]``, once per training seed.
        users: int64 ``[n]``, who each row belongs to.
        seed: Of the bootstrap.
        draws: Of users, and of training seeds within.

    Raises:
        ValueError: If there are no rows, or shapes differ.
    """
    against_nothing = [(place, len(values)) for place in range(len(values))]
    found = nested_differences([*values.values(), [np.zeros(len(users))]], users, against_nothing, seed=seed, draws=draws)
    return {
        name: RankerMean(float(each.mean), float(each.low), float(each.high), tuple(float(v.mean()) for v in of_seeds))
        for (name, of_seeds), each in zip(values.items(), found, strict=True)
    }


def compare_rankers(
    values: Mapping[str, Sequence[NDArray[np.float64]]],
    users: NDArray[np.int64],
    pairs: Sequence[tuple[str, str]],
    *,
    seed: int,
    draws: int = 1000,
) -> list[Compared]:
    """Paired bootstrap over users of the difference of two rankers, training seeds nested, corrected for all pairs (Holm).

    Args:
        values: As for `ranker_means`; all on the same rows.
        users: int64 ``[n]``.
        pairs: Names to compare, in either order.
        seed: Of the bootstrap.
        draws: At least so many; 200 for each pair where that is more, since a p-value can't be below ``2 / (draws + 1)``.

    Returns:
        One per pair, the better one first.

    Raises:
        ValueError: If there are no rows, or shapes differ.
    """
    draws = max(draws, _DRAWS_PER_COMPARISON * len(pairs))
    means = {name: float(np.mean([each.mean() for each in of_seeds])) for name, of_seeds in values.items()}
    ordered = [(a, b) if means[a] >= means[b] else (b, a) for a, b in pairs]
    names = list(values)
    places = [(names.index(a), names.index(b)) for a, b in ordered]
    found = nested_differences(list(values.values()), users, places, seed=seed, draws=draws)
    corrected = holm([float(each.p_value) for each in found])
    return [
        Compared(a, b, float(each.mean), float(each.low), float(each.high), float(each.p_value), float(p))
        for (a, b), each, p in zip(ordered, found, corrected, strict=True)
    ]


def _figure(value: float, *, signed: bool = False) -> str:
    text = f"{value:+.4f}" if signed else f"{value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
