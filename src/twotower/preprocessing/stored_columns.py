"""Millions of rows encoded without a copy of their table: column by column, distinct values once, the rest in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from polars.datatypes import DataTypeClass
from torch import Tensor

from twotower.errors import DataError
from twotower.preprocessing.categories import category_codes, code_dtype, code_tensor, fit_by_code
from twotower.preprocessing.features import ColumnFeatureConfig, FittedFeature
from twotower.preprocessing.geo import FittedGeo
from twotower.preprocessing.lists import to_ragged
from twotower.spec import ColumnSpec, RowsColumn
from twotower.types import Coded, Column, Computed, Ragged, StoredColumn

__all__ = ["chosen_rows", "encode_stored", "fit_stored"]

_CHUNK_ROWS = 1 << 18
_MOST_DISTINCT = (1 << 8) - 1
_FEWEST_ROWS = 1 << 12
_FEWEST_TO_COUNT = 1 << 20
_FEWEST_TO_COMPUTE = 1 << 20


def encode_stored(
    features: Iterable[FittedFeature], frame: pl.DataFrame, rows: NDArray[np.int64] | None
) -> dict[str, StoredColumn]:
    """Encode rows of a table, each column in the form that takes the least memory.

    Columns of categories, and of numbers of which there are few (whole years of age), become codes that all features of the
    column share, and each feature's few encoded values. What is left is encoded in parts, but for the points of millions of
    places, which are computed when they are taken: 16 bytes a row are twice what the table has.

    Args:
        features: Fitted; every column that they read is in the table.
        frame: The table; it is neither copied nor changed, and may be memory-mapped. Codes may be its memory.
        rows: Row numbers, in any order, int64 ``[m]``; None: all.

    Raises:
        DataError: As the features do, with the row numbers among the chosen rows.
    """
    coded: dict[tuple[str, ...], tuple[NDArray[np.generic], pl.Series] | None] = {}
    encoded: dict[str, StoredColumn] = {}
    for feature in features:
        source = chosen_rows(feature.config.source(frame), rows)
        names = feature.config.source_columns
        if names not in coded:
            coded[names] = category_codes(source) if isinstance(source.dtype, pl.Enum) else _number_codes(source)
        found = coded[names]
        if found is not None:
            encoded.update(_by_code(feature, source, *found))
        elif isinstance(feature, FittedGeo) and len(source) >= _FEWEST_TO_COMPUTE:
            encoded.update(_of_places(feature, source))
        else:
            encoded.update(_in_parts(feature, source, feature.encode))
    return encoded


def chosen_rows(column: pl.Series, rows: NDArray[np.int64] | None) -> pl.Series:
    """Rows of a column; without a copy where they follow one another.

    Args:
        column: Any, ``[n]``.
        rows: Row numbers, int64 ``[m]``; None: all.
    """
    if rows is None or not len(rows):
        return column if rows is None else column.clear()
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and bool((rows[1:] > rows[:-1]).all()):
        return column.slice(first, len(rows))
    return column.gather(rows)


def fit_stored(feature: ColumnFeatureConfig, column: pl.Series) -> FittedFeature:
    """What the feature finds on a column of any length; where millions of rows have few distinct numbers, on these.

    Args:
        feature: As chosen.
        column: What its ``source`` gives, ``[n]``.

    Raises:
        DataError: As the feature does.
    """
    found = _number_codes(column) if len(column) >= _FEWEST_TO_COUNT else None
    fit: Callable[..., FittedFeature] = feature.fit
    return fit(column) if found is None else fit_by_code(fit, *found, None, column)


def _by_code(
    feature: FittedFeature, source: pl.Series, codes: NDArray[np.generic], values: pl.Series
) -> dict[str, StoredColumn]:
    try:
        encoded = feature.encode(values)
    except DataError:  # for its row numbers; and the value at fault may be one that no row has
        return dict(_in_parts(feature, source.cast(values.dtype), feature.encode))
    rows = code_tensor(codes)
    return {name: Coded(rows, column) for name, column in encoded.items()}


def _number_codes(source: pl.Series) -> tuple[NDArray[np.generic], pl.Series] | None:
    """Codes of a column of few distinct numbers, uint8 ``[n]``, and the numbers; None where a byte is not enough."""
    if not source.dtype.is_numeric() or len(source) < _FEWEST_ROWS:
        return None
    distinct = source.clear()
    for start in range(0, len(source), _CHUNK_ROWS):
        distinct = pl.concat([distinct, source.slice(start, _CHUNK_ROWS).unique()]).unique()
        if len(distinct) > _MOST_DISTINCT:
            return None
    distinct = distinct.sort()
    places = pl.Series(np.arange(len(distinct), dtype=np.uint8))
    codes = np.empty(len(source), dtype=np.uint8)
    for start in range(0, len(source), _CHUNK_ROWS):
        part = source.slice(start, _CHUNK_ROWS)
        codes[start : start + len(part)] = part.replace_strict(distinct, places, return_dtype=pl.UInt8).to_numpy()
    return codes, distinct


def _of_places(feature: FittedGeo, source: pl.Series) -> dict[str, StoredColumn]:
    def points(rows: Tensor) -> Tensor:
        return feature.encode_points(source.gather(rows.numpy()))

    return {feature.config.name: Computed(len(source), points), **_in_parts(feature, source, feature.encode_cells)}


def _in_parts(
    feature: FittedFeature, source: pl.Series, encode: Callable[[pl.Series], Mapping[str, Column]]
) -> dict[str, StoredColumn]:
    # text and lists are made of as many objects as rows before they come here; and each part would look for all known ids
    chunk = _CHUNK_ROWS if _is_plain(source.dtype) else max(len(source), 1)
    whole: dict[str, Tensor] = {}
    lists: dict[str, list[Ragged]] = {}
    for start in range(0, max(len(source), 1), chunk):
        try:
            part = encode(source.slice(start, chunk))
        except DataError:
            encode(source)  # the same fault again, for its row numbers
            raise
        specs = [spec for spec in feature.columns if spec.name in part]
        for spec in specs:
            found: Column = part[spec.name]
            if isinstance(found, Ragged):
                lists.setdefault(spec.name, []).append(found)
                continue
            if start == 0:
                whole[spec.name] = torch.empty((len(source), *found.shape[1:]), dtype=_narrow(spec, found.dtype))
            whole[spec.name][start : start + len(found)] = found
    return {spec.name: _joined(lists[spec.name]) if spec.name in lists else _widened(whole[spec.name], spec) for spec in specs}


def _is_plain(dtype: pl.DataType | DataTypeClass) -> bool:
    """Numbers and times, and places of them."""
    if isinstance(dtype, pl.Struct):
        return all(_is_plain(kind) for kind in dtype.to_schema().values())
    return dtype.is_numeric() or dtype.is_temporal() or isinstance(dtype, pl.Boolean)


def _narrow(spec: ColumnSpec, dtype: torch.dtype) -> torch.dtype:
    """Rows of a small vocabulary as codes of themselves."""
    if not isinstance(spec, RowsColumn):
        return dtype
    return {np.uint8: torch.uint8, np.int16: torch.int16, np.int32: dtype}[code_dtype(spec.vocabulary_size)]


def _widened(column: Tensor, spec: ColumnSpec) -> StoredColumn:
    if column.dtype not in (torch.uint8, torch.int16) or not isinstance(spec, RowsColumn):
        return column
    return Coded(column, torch.arange(spec.vocabulary_size, dtype=torch.int32))


def _joined(parts: list[Ragged]) -> Ragged:
    lengths = torch.cat([part.lengths for part in parts])
    return to_ragged(torch.cat([part.values for part in parts]).numpy(), lengths.numpy())
