"""Categories: few values, each with a row of its own; a missing value may be one of them."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, StrictInt, StrictStr, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError, type_name
from twotower.preprocessing.categories import encode_by_category, fit_by_category
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
        separator: For a column of composite text such as ``"meetme:123"``: what stands between its parts; goes with ``part``.
        part: Which part is the category, counted from 0. A value without that part, or with an empty one, is missing. Two
            features may read two parts of one column: give them names.
        min_count: Values of fewer interactions share row 0 with the unknown ones.
        missing: ``error``; ``own_row``: the last row of the vocabulary, another one than the out-of-vocabulary row 0
            (when no value was missing in train, nothing trains it); or ``{"fill": value}``.
    """

    kind: Literal["category"] = "category"
    separator: str | None = Field(default=None, min_length=1)
    part: int | None = Field(default=None, ge=0)
    min_count: int = Field(default=1, ge=1)
    missing: Annotated[Literal["error", "own_row"] | FillCategory, missing_rule("error", "own_row")] = "error"

    @model_validator(mode="after")
    def _part_of_something(self) -> CategoryFeature:
        if (self.separator is None) != (self.part is None):
            raise ValueError("separator and part go together: the part that is the category, and what stands between the parts")
        return self

    def values(self, column: pl.Series) -> pl.Series:
        """What is looked up of each row: text or integers, of composite text the part; null where it is missing.

        Raises:
            DataError: If the dtype is another.
        """
        values = id_values(column, self.column)
        if self.separator is None or self.part is None:
            return values
        if values.dtype != pl.String:
            raise DataError(
                f"column {self.column!r} must hold text with the separator {self.separator!r}; it holds {values.dtype}"
            )
        parts = values.str.split(self.separator).list.get(self.part, null_on_oob=True)
        return parts.set(parts == "", None)

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedCategory:
        """Collect the values of the train rows.

        Args:
            column: Text, integers or booleans (as ``"true"`` and ``"false"``), ``[n]``.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If a value is missing and that is an error, if the dtype is another (with ``part``: no text), or if no
                value is left.
        """
        if isinstance(column.dtype, pl.Enum):
            return fit_by_category(self.fit, column, counts)
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
        if isinstance(column.dtype, pl.Enum):
            return encode_by_category(self.encode, column)
        values, missing = _prepare(self.config, column)
        rows = self.lookup.rows(values, column=self.config.column)
        if self.config.missing == "own_row":
            rows[missing] = self.lookup.size
        return {self.config.output_name: torch.from_numpy(rows)}


def _prepare(config: CategoryFeature, column: pl.Series) -> tuple[pl.Series, NDArray[np.bool_]]:
    """The values, filled if so declared, and which were missing."""
    values = config.values(column)
    missing = values.is_null().to_numpy()
    if config.missing == "error":
        require_present(missing, config.column, "declare missing = 'own_row' or {'fill': value}")
    if isinstance(config.missing, FillCategory):
        fill = config.missing.fill
        if missing.all() and len(missing):
            values = pl.Series([fill] * len(missing))
        elif isinstance(fill, str) != (values.dtype == pl.String) and len(missing):
            raise DataError(
                f"column {config.column!r} holds {type_name(column.dtype)}, and missing values are filled with {fill!r}, "
                "another type"
            )
        else:
            values = values.fill_null(fill)
    return values, missing
