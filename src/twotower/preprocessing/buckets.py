"""Numbers cut into buckets, each with a row of its own in an embedding table."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.floats import Clip, clipped, moments, quantiles, to_floats
from twotower.preprocessing.missing import FillNumber, missing_rule, require_present
from twotower.spec import RowsColumn

__all__ = ["BucketsFeature", "FittedBuckets"]


class BucketsFeature(ColumnFeature):
    """A number by the bucket that it falls into: the number of edges that are not greater than it.

    Attributes:
        clip: Lowest and highest value that is believed: what lies outside is taken as the nearer one, in fitting and in
            encoding, as if the table had held it (an age of 0 or of 250). None: all are.
        edges: The edges themselves, strictly increasing; or
        num_edges: how many edges to place on what train holds:
        spacing: ``linear`` (also None): ``np.linspace(minimum, maximum, num_edges)``, the ends included; ``quantile``: at the
            quantiles ``1 / (num_edges + 1)``, ..., each once, so that fewer edges may come out.
        missing: ``error``; ``own_row``: the last row, after the buckets (when no value was missing in train, nothing trains
            it); or ``{"fill": number}``. NaN is missing, like null.
    """

    kind: Literal["buckets"] = "buckets"
    clip: Clip | None = None
    edges: tuple[float, ...] | None = Field(default=None, min_length=1)
    num_edges: int | None = Field(default=None, ge=1)
    spacing: Literal["linear", "quantile"] | None = None
    missing: Annotated[Literal["error", "own_row"] | FillNumber, missing_rule("error", "own_row")] = "error"

    @model_validator(mode="after")
    def _one_way(self) -> BucketsFeature:
        if (self.edges is None) == (self.num_edges is None):
            raise ValueError("give either edges or num_edges")
        if self.edges is not None and any(left >= right for left, right in pairwise(self.edges)):
            raise ValueError(f"edges must be strictly increasing; came {list(self.edges)}")
        if self.edges is not None and self.spacing is not None:
            raise ValueError("spacing belongs to num_edges: leave it out where edges are given")
        if self.num_edges == 1 and self.spacing != "quantile":
            raise ValueError("num_edges must be at least 2 with linear spacing: the ends of the range are edges")
        return self

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedBuckets:
        """Place the edges on the train rows (given edges are kept as they are).

        Args:
            column: Numbers, ``[n]``.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If the column holds no numbers, or infinity; if a value is missing and that is an error; or if there
                is no value to place edges on.
        """
        values = _prepare(self, column)
        if self.num_edges is None:
            return FittedBuckets(config=self, edges=self.edges or (), clip=None)
        found = moments(values, counts, self.column)
        if self.spacing == "quantile":
            edges = np.unique(quantiles(values, counts, np.arange(1, self.num_edges + 1) / (self.num_edges + 1), self.column))
        else:
            edges = np.linspace(found.minimum, found.maximum, self.num_edges)
        return FittedBuckets(config=self, edges=tuple(edges.tolist()), clip=(found.minimum, found.maximum))


class FittedBuckets(Config):
    """A buckets feature and its edges.

    Attributes:
        edges: Increasing; bucket 0 is below the first, the last bucket from the last on.
        clip: The range of train, for edges that were fitted: values outside it are taken as its ends, so that they never
            fall into a bucket that nothing has trained. None where the edges were given.

    Example:
        >>> fitted = BucketsFeature(column="age", edges=(18, 65)).fit(pl.Series([30]))
        >>> fitted.encode(pl.Series([17.0, 18.0, 64.9, 65.0]))["age"].tolist()
        [0, 1, 1, 2]
    """

    kind: Literal["buckets"] = "buckets"
    config: BucketsFeature
    edges: tuple[float, ...] = Field(min_length=1)
    clip: tuple[float, float] | None

    @property
    def columns(self) -> tuple[RowsColumn, ...]:
        """One column of rows: a row per bucket, and one more with ``missing = "own_row"``."""
        size = len(self.edges) + 1 + (self.config.missing == "own_row")
        return (RowsColumn(name=self.config.output_name, vocabulary_size=size),)

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Rows int32 ``[n]``; a value that equals an edge belongs to the bucket above it.

        Raises:
            DataError: If the column holds no numbers, or infinity, or if a value is missing and that is an error.
        """
        values = _prepare(self.config, column)
        missing = np.isnan(values)
        if self.clip is not None:
            values = np.clip(values, *self.clip)
        rows = np.searchsorted(np.asarray(self.edges), values, side="right").astype(np.int32)
        rows[missing] = len(self.edges) + 1
        return {self.config.output_name: torch.from_numpy(rows)}


def _prepare(config: BucketsFeature, column: pl.Series) -> NDArray[np.float64]:
    values = to_floats(column, config.column)
    if isinstance(config.missing, FillNumber):
        values = np.where(np.isnan(values), config.missing.fill, values)
    elif config.missing == "error":
        require_present(np.isnan(values), config.column, "declare missing = 'own_row' or {'fill': number}")
    return clipped(values, config.clip)
