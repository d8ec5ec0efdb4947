"""Where positives stand among all candidates, ties included: all that the metrics need to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "IntArray", "Ranks", "Ties"]

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

Ties: TypeAlias = Literal["expected", "optimistic", "pessimistic"]
"""How candidates of equal score are ranked: by a fair draw (expectation), the positive first, or the positive last."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Positions of ``n`` positives, each among the candidates that compete with it.

    Among its equals a positive has every position from ``above + 1`` to ``above + tied`` with the same probability.

    Attributes:
        above: int64 ``[n]``, at least 0: candidates with a strictly greater score.
        tied: int64 ``[n]``, at least 1: candidates with the same score, the positive included.

    Raises:
        ValueError: If the arrays are not integers of one length, or out of range.

    Example:
        >>> ranks = Ranks(np.array([0, 2]), np.array([1, 3]))
        >>> len(ranks), ranks.resolve("pessimistic").above.tolist()
        (2, [0, 4])
    """

    above: IntArray
    tied: IntArray

    def __post_init__(self) -> None:
        for name in ("above", "tied"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        if self.above.shape != self.tied.shape:
            raise ValueError(f"above and tied must have one length; came {self.above.shape} and {self.tied.shape}")
        wrong = np.flatnonzero((self.above < 0) | (self.tied < 1))
        if wrong.size:
            row = int(wrong[0])
            raise ValueError(
                f"above must be at least 0 and tied at least 1 (the positive itself); came {self.above[row]} and "
                f"{self.tied[row]} at row {row}, and {wrong.size - 1} more such rows"
            )

    def __len__(self) -> int:
        return int(self.above.shape[0])

    @classmethod
    def unranked(cls, count: int, catalogue_size: int) -> Ranks:
        """Positives that are not in the catalogue: behind all of it, hence a miss at every ``k`` up to its size."""
        return cls(np.full(count, catalogue_size, dtype=np.int64), np.ones(count, dtype=np.int64))

    @classmethod
    def concatenate(cls, parts: Sequence[Ranks]) -> Ranks:
        """The parts, end to end; no part gives no ranks."""
        empty = np.empty(0, dtype=np.int64)
        return cls(np.concatenate([empty, *(part.above for part in parts)]), np.concatenate([empty, *(p.tied for p in parts)]))

    def take(self, rows: NDArray[Any]) -> Ranks:
        """Those of the given rows: integers, or a bool mask."""
        return Ranks(self.above[rows], self.tied[rows])

    def resolve(self, ties: Ties) -> Ranks:
        """The same positives with ties decided: unchanged for ``expected``, else with ``tied`` 1 everywhere."""
        if ties == "expected":
            return self
        if ties not in ("optimistic", "pessimistic"):
            raise ValueError(f"ties must be 'expected', 'optimistic' or 'pessimistic'; came {ties!r}")
        return Ranks(self.above if ties == "optimistic" else self.above + self.tied - 1, np.ones_like(self.tied))


def _integers(name: str, values: Any) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"{name} must be integers of shape [n]; came {array.dtype} of shape {array.shape}")
    return array.astype(np.int64, copy=False)
