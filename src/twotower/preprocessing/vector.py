"""Vectors that come with the table: embeddings of pictures or texts, made elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError, type_name
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.missing import first_rows, missing_rule, require_present
from twotower.spec import FloatsColumn

__all__ = ["FittedVector", "VectorFeature"]


class VectorFeature(ColumnFeature):
    """A vector of floats per row, all of one length, that goes into the tower as it is.

    Attributes:
        normalise: Scale every vector to length 1 (a vector of zeros stays).
        missing: ``error``, or ``zeros``: a vector of zeros stands in for null.
    """

    kind: Literal["vector"] = "vector"
    normalise: bool = False
    missing: Annotated[Literal["error", "zeros"], missing_rule("error", "zeros", fill=False)] = "error"

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedVector:
        """Find the width, and check that all rows have it.

        Args:
            column: Lists or arrays of numbers, ``[n]``.
            counts: How many interactions each row stands for, ``[n]``; only checked.

        Raises:
            DataError: If the column holds anything else, if a vector has another length or a value that is not a finite
                number, if one is missing and that is an error, or if there is none.
        """
        row_counts(counts, len(column))
        return FittedVector(config=self, width=_matrix(self, column, None).shape[1])


class FittedVector(Config):
    """A vector feature and its width.

    Example:
        >>> fitted = VectorFeature(column="picture", normalise=True).fit(pl.Series([[1.0, 0.0]]))
        >>> fitted.encode(pl.Series([[3.0, 4.0]]))["picture"].tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    kind: Literal["vector"] = "vector"
    config: VectorFeature
    width: int = Field(ge=1)

    @property
    def columns(self) -> tuple[FloatsColumn, ...]:
        """One column of floats."""
        return (FloatsColumn(name=self.config.output_name, width=self.width),)

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Floats, float32 ``[n, width]``.

        Raises:
            DataError: If a vector has another length or a value that is not a finite number, or if one is missing and that is
                an error.
        """
        matrix = _matrix(self.config, column, self.width)
        if self.config.normalise:
            lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
            matrix = np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)
        return {self.config.output_name: torch.from_numpy(matrix.astype(np.float32))}


def _matrix(config: VectorFeature, column: pl.Series, width: int | None) -> NDArray[np.float64]:
    """The vectors as float64 ``[n, width]``; zeros where they are missing."""
    name, dtype = config.column, column.dtype
    if isinstance(dtype, pl.Null):
        lists = column.cast(pl.List(pl.Float64))
    elif isinstance(dtype, pl.List | pl.Array) and (dtype.inner.is_numeric() or dtype.inner == pl.Null):
        lists = (column.arr.to_list() if isinstance(dtype, pl.Array) else column).cast(pl.List(pl.Float64))
    else:
        raise DataError(
            f"column {name!r} must hold vectors: lists or arrays of numbers of one length; it holds {type_name(dtype)}"
        )
    missing = lists.is_null().to_numpy()
    if config.missing == "error":
        require_present(missing, name, "declare missing = 'zeros'")
    lengths = lists.list.len().to_numpy()
    if width is None:
        if missing.all():
            raise DataError(f"column {name!r} must have a vector to fit on; none of {len(column):,} rows has one")
        width = int(lengths[np.argmin(missing)])
    wrong = ~missing & (lengths != width)
    if wrong.any():
        came = int(lengths[np.argmax(wrong)])
        raise DataError(
            f"column {name!r} must hold vectors of {width} numbers; came {came} in {first_rows(wrong)}; repair these"
        )
    if width == 0:
        raise DataError(f"column {name!r} must hold vectors of at least one number; came empty ones")
    matrix = np.zeros((len(column), width))
    if not missing.all():
        present = lists.drop_nulls().explode().fill_null(float("nan")).to_numpy()
        matrix[~missing] = present.reshape(-1, width)
    bad: NDArray[np.bool_] = np.logical_not(np.isfinite(matrix).all(axis=1))
    if bad.any():
        raise DataError(
            f"column {name!r} must hold finite numbers; it does not in {first_rows(bad)}; repair or leave out these"
        )
    return matrix
