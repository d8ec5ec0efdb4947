"""Numbers: clipped to what train has shown, transformed, standardised."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.floats import Clip, clipped, moments, to_floats
from twotower.preprocessing.missing import FillNumber, first_rows, missing_rule, require_present
from twotower.spec import FloatsColumn

__all__ = ["FittedNumber", "NumberFeature"]


class NumberFeature(ColumnFeature):
    """A number that goes into the tower as it is, or standardised.

    Attributes:
        clip: Lowest and highest value that is believed: what lies outside is taken as the nearer one, in fitting and in
            encoding, as if the table had held it (an age of 0 or of 250). None: all are.
        transform: ``log1p`` takes ``log(1 + x)`` first, for numbers of long tails; they must be greater than -1.
        standardise: Subtract the mean of train and divide by its standard deviation. A column of one value becomes zeros.
        missing: ``error``; ``{"fill": number}``, before anything else; or ``own``: the mean stands in, and a second float
            is 1 where the value was missing and 0 elsewhere. NaN is missing, like null.
    """

    kind: Literal["number"] = "number"
    clip: Clip | None = None
    transform: Literal["none", "log1p"] = "none"
    standardise: bool = True
    missing: Annotated[Literal["error", "own"] | FillNumber, missing_rule("error", "own")] = "error"

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedNumber:
        """Find range, mean and standard deviation of the train rows.

        Args:
            column: Numbers, ``[n]``.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If the column holds no numbers, infinity, or (for ``log1p``) a number of -1 or less; if a value is
                missing and that is an error; or if there is no value at all.
        """
        values = _prepare(self, column)
        low = values <= -1
        if self.transform == "log1p" and low.any():
            raise DataError(f"column {self.column!r} must be greater than -1 for log1p; it is not in {first_rows(low)}")
        raw = moments(values, counts, self.column)
        transformed = moments(_transform(self, values), counts, self.column)
        return FittedNumber(config=self, minimum=raw.minimum, maximum=raw.maximum, mean=transformed.mean, std=transformed.std)


class FittedNumber(Config):
    """A number feature and the moments that it found.

    Attributes:
        minimum: Least value of train, as in the table; smaller ones are encoded as this one.
        maximum: Greatest value of train.
        mean: Of the transformed values.
        std: Of the transformed values, ``ddof = 0``; 0 for a column of one value.

    Example:
        >>> fitted = NumberFeature(column="age").fit(pl.Series([20, 40]))
        >>> fitted.encode(pl.Series([20, 30, 99]))["age"].tolist()
        [[-1.0], [0.0], [1.0]]
    """

    kind: Literal["number"] = "number"
    config: NumberFeature
    minimum: float
    maximum: float
    mean: float
    std: float = Field(ge=0)

    @property
    def columns(self) -> tuple[FloatsColumn, ...]:
        """One column of floats, of width 2 with ``missing = "own"`` (value, indicator), else 1."""
        return (FloatsColumn(name=self.config.output_name, width=2 if self.config.missing == "own" else 1),)

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Floats, float32 ``[n, width]``; values outside the range of train are clipped to it.

        Raises:
            DataError: If the column holds no numbers, or infinity, or if a value is missing and that is an error.
        """
        values = np.clip(_prepare(self.config, column), self.minimum, self.maximum)
        missing = np.isnan(values)
        values = np.where(missing, self.mean, _transform(self.config, values))
        if self.config.standardise:
            values = (values - self.mean) / self.std if self.std > 0 else np.zeros_like(values)
        parts = [values, missing] if self.config.missing == "own" else [values]
        return {self.config.output_name: torch.from_numpy(np.stack(parts, axis=1).astype(np.float32))}


def _prepare(config: NumberFeature, column: pl.Series) -> NDArray[np.float64]:
    values = to_floats(column, config.column)
    if isinstance(config.missing, FillNumber):
        values = np.where(np.isnan(values), config.missing.fill, values)
    elif config.missing == "error":
        require_present(np.isnan(values), config.column, "declare missing = 'own' or {'fill': number}")
    return clipped(values, config.clip)


def _transform(config: NumberFeature, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log1p(values) if config.transform == "log1p" else values
