"""Categories: few values, each with a row of its own; a missing value may be one of them."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, StrictInt, StrictStr
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.lookup import Lookup, id_values
from twotower.preprocessing.missing import missing_rule, require_present
from twotower.spec import RowsColumn

__all__ = ["CategoryFeature", "FillCategory", "FittedCategory"]


class FillCategory(Config):
    """Put this value where one is missing, in fitting and in encoding, as if the table had held it."""

    fill: StrictStr | StrictInt


class CategoryFeature(ColumnFeature):
    """A value out of few (text, integers or booleans) that is looked up in an embedding table.

    Attributes:
        min_count: Values of fewer interactions share row 0 with the unknown ones.
        missing: ``error``; ``own_row``: the last row of the vocabulary, another one than the out-of-vocabulary row 0
            (when no value was missing in train, nothing trains it); or ``{"fill": value}``.
    """

    kind: Literal["category"] = "category"
    min_count: int = Field(default=1, ge=1)
    missing: Annotated[Literal["error", "own_row"] | FillCategory, missing_rule("error", "own_row")] = "error"

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedCategory:
        """Collect the values of the train rows.

        Args:
            column: Text, integers or booleans (as ``"true"`` and ``"false"``), ``[n]``.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If a value is missing and that is an error, if the dtype is another, or if no value is left.
        """
        values, _ = _prepare(self, column)
        return FittedCategory(config=self, lookup=Lookup.fit(values, counts, min_count=self.min_count, column=self.column))


class FittedCategory(Config):
    """A category feature and the values that it found.

    Example:
        >>> fitted = CategoryFeature(column="genre", missing="own_row").fit(pl.Series(["drama", "action", None]))
        >>> fitted.encode(pl.Series(["action", "drama", "western", None]))["genre"].tolist()
        [1, 2, 0, 3]
    """

    kind: Literal["category"] = "category"
    config: CategoryFeature
    lookup: Lookup

    @property
    def columns(self) -> tuple[RowsColumn, ...]:
        """One column of rows."""
        size = self.lookup.size + (self.config.missing == "own_row")
        return (RowsColumn(name=self.config.output_name, vocabulary_size=size),)

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Rows int32 ``[n]``; an unknown value has row 0.

        Raises:
            DataError: If a value is missing and that is an error, or if the dtype is not that of the fit.
        """
        values, missing = _prepare(self.config, column)
        rows = self.lookup.rows(values, column=self.config.column)
        if self.config.missing == "own_row":
            rows[missing] = self.lookup.size
        return {self.config.output_name: torch.from_numpy(rows)}


def _prepare(config: CategoryFeature, column: pl.Series) -> tuple[pl.Series, NDArray[np.bool_]]:
    """The values, filled if so declared, and which were missing."""
    values = id_values(column, config.column)
    missing = values.is_null().to_numpy()
    if config.missing == "error":
        require_present(missing, config.column, "declare missing = 'own_row' or {'fill': value}")
    if isinstance(config.missing, FillCategory):
        fill = config.missing.fill
        if missing.all() and len(missing):
            values = pl.Series([fill] * len(missing))
        elif isinstance(fill, str) != (values.dtype == pl.String) and len(missing):
            raise DataError(
                f"column {config.column!r} holds {column.dtype}, and missing values are filled with {fill!r}, another type"
            )
        else:
            values = values.fill_null(fill)
    return values, missing
