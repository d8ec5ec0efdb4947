"""Reading a column as floats, and what fitting needs to know of them."""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import AfterValidator

from twotower.errors import DataError, type_name
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.missing import first_rows

__all__ = ["Clip", "Moments", "clipped", "moments", "quantiles", "to_floats"]


def to_floats(values: pl.Series, column: str) -> NDArray[np.float64]:
    """A column of numbers (or booleans, as 0 and 1) as float64 ``[n]``; null becomes NaN: both are missing.

    Raises:
        DataError: If the column holds anything else, or infinity.
    """
    if not (values.dtype.is_numeric() or isinstance(values.dtype, pl.Boolean | pl.Null)):
        shown = ", ".join(repr(value) for value in values.drop_nulls().head(3))
        raise DataError(
            f"column {column!r} must hold numbers; it holds {type_name(values.dtype)} ({shown}); cast it, or declare another "
            f"kind{_first_text(values)}"
        )
    floats: NDArray[np.float64] = values.cast(pl.Float64).to_numpy(writable=True)
    infinite = np.isinf(floats)
    if infinite.any():
        raise DataError(f"column {column!r} must hold finite numbers; infinite in {first_rows(infinite)}; replace them")
    return floats


def _first_text(values: pl.Series) -> str:
    """Where a column of text stops being one of numbers: one stray word turns all of it into text."""
    if not isinstance(values.dtype, pl.String | pl.Categorical | pl.Enum):
        return ""
    values = values.cast(pl.String)
    stray = (values.is_not_null() & ~values.str.contains(r"^\s*[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*$")).arg_true()
    return f"; the first that is no number is {values[int(stray[0])]!r}, in row {stray[0]}" if len(stray) else ""


def _rising(clip: tuple[float, float]) -> tuple[float, float]:
    if clip[0] >= clip[1]:
        raise ValueError(f"must be the lowest and the highest value, in this order; came {list(clip)}")
    return clip


Clip: TypeAlias = Annotated[tuple[float, float], AfterValidator(_rising)]
"""Lowest and highest value that is believed."""


def clipped(values: NDArray[np.float64], clip: tuple[float, float] | None) -> NDArray[np.float64]:
    """Values outside a range taken as the nearer end of it; NaN stays.

    Example:
        >>> clipped(np.array([3.0, 30.0, 300.0, np.nan]), (18, 80)).tolist()
        [18.0, 30.0, 80.0, nan]
    """
    return values if clip is None else np.clip(values, *clip)


class Moments(NamedTuple):
    """Range, mean and standard deviation (of the whole, ``ddof = 0``) of the values that are there."""

    minimum: float
    maximum: float
    mean: float
    std: float


def moments(values: NDArray[np.float64], counts: NDArray[np.int64] | None, column: str) -> Moments:
    """Moments of the values, each taken ``counts`` times; NaN is left out.

    When all values are equal, the mean is that value and the standard deviation exactly 0.

    Raises:
        DataError: If there is no value.

    Example:
        >>> moments(np.array([1.0, 5.0, np.nan]), np.array([3, 1, 7]), "age")
        Moments(minimum=1.0, maximum=5.0, mean=2.0, std=1.7320508075688772)
    """
    present, weights = _present(values, counts, column)
    minimum, maximum = float(present.min()), float(present.max())
    if minimum == maximum:
        return Moments(minimum, maximum, minimum, 0.0)
    mean = float(np.average(present, weights=weights))
    return Moments(minimum, maximum, mean, float(np.sqrt(np.average((present - mean) ** 2, weights=weights))))


def quantiles(
    values: NDArray[np.float64], counts: NDArray[np.int64] | None, fractions: NDArray[np.float64], column: str
) -> NDArray[np.float64]:
    """What ``np.quantile`` gives for the values repeated ``counts`` times each, without repeating them; NaN is left out.

    Raises:
        DataError: If there is no value.

    Example:
        >>> quantiles(np.array([10.0, 0.0]), np.array([1, 3]), np.array([0.5, 1.0]), "age").tolist()
        [0.0, 10.0]
    """
    present, weights = _present(values, counts, column)
    order = np.argsort(present, kind="stable")
    ends = np.cumsum(weights[order])
    position = fractions * (ends[-1] - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, ends[-1] - 1)
    low = present[order][np.searchsorted(ends, below, side="right")]
    high = present[order][np.searchsorted(ends, above, side="right")]
    result: NDArray[np.float64] = low + (high - low) * (position - below)
    return result


def _present(
    values: NDArray[np.float64], counts: NDArray[np.int64] | None, column: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    weights = row_counts(counts, len(values))
    there = (weights > 0) & ~np.isnan(values)
    if not there.any():
        raise DataError(f"column {column!r} must have a value to fit on; none of {len(values):,} rows has one")
    return values[there], weights[there]
