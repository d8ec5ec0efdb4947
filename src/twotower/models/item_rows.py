"""Columns of catalogue rows, each of which stands for a candidate's vector: which rows they hold, and where vectors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from twotower.types import Events, Prefixes, QueryColumn, QueryFeatures, Ragged

__all__ = ["rows_read", "with_places"]


def rows_read(features: QueryFeatures, columns: Iterable[str]) -> Tensor:
    """The distinct rows that some columns hold, int64, rising.

    Args:
        features: Ragged columns and prefixes among others.
        columns: Names of those that are looked at, see `TwoTower.item_columns`.

    Example:
        >>> history = Ragged(torch.tensor([7, 3, 7]), torch.tensor([0, 2, 3]))
        >>> rows_read({"history": history}, ["history"]).tolist()
        [3, 7]
    """
    found: Tensor = torch.unique(torch.cat([_values(features[name]).to(torch.int64) for name in columns]))
    return found


def with_places(
    features: Mapping[str, QueryColumn | Prefixes], columns: Iterable[str], rows_V: Tensor
) -> dict[str, QueryColumn | Prefixes]:
    """The features with the places of rows in the place of the rows, so that vectors are needed of no others.

    Args:
        features: Ragged columns and prefixes among others.
        columns: Names of those that hold rows.
        rows_V: Distinct rows in any order, int64 ``[V]``, all that the columns hold among them.

    Example:
        >>> history = Ragged(torch.tensor([7, 3, 7]), torch.tensor([0, 2, 3]))
        >>> with_places({"history": history}, ["history"], torch.tensor([7, 5, 3]))["history"].values.tolist()
        [0, 2, 0]
    """
    rising_V, order_V = rows_V.sort()
    found = dict(features)
    for name in columns:
        column = features[name]
        places = order_V[torch.searchsorted(rising_V, _values(column).to(torch.int64))]
        if isinstance(column, Prefixes):
            found[name] = column._replace(sequences=column.sequences._replace(values=places))
        else:
            assert isinstance(column, Ragged)
            found[name] = column._replace(values=places)
    return found


def _values(column: QueryColumn | Prefixes) -> Tensor:
    if isinstance(column, Tensor):
        raise TypeError("a column of items must hold any number of catalogue rows; it holds one value a row")
    if isinstance(column, Events):
        raise TypeError("a column of items whose vectors are read must hold catalogue rows alone; it holds events")
    return (column.sequences if isinstance(column, Prefixes) else column).values
