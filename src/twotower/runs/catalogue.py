"""The catalogue: a table of items, or what one wide table says of its items."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data import IdTable, Interactions
from twotower.data.coded_texts import CodedTexts
from twotower.data.consecutive import as_slice, taken
from twotower.data.id_columns import require_columns
from twotower.runs.data_config import CatalogueConfig

__all__ = ["catalogue_from_rows", "count_conflicts"]

_AT_ONCE = 2**20


def catalogue_from_rows(interactions: Interactions, config: CatalogueConfig, fit_rows: NDArray[np.int64]) -> IdTable:
    """Make a catalogue from interactions: its items, sorted by id, with one value each in every column.

    Args:
        interactions: Every row; columns of the items are read from them.
        config: Which items and columns, and what is taken where rows differ.
        fit_rows: Rows whose items, and whose values of them, are known.

    Returns:
        Text columns are String, whatever they are in the interactions; a value is null where an item has none.
    """
    noun, id_column = "item", interactions.schema.item
    ids = interactions.item_keys
    known = ids if config.items == "all" else _taken_ids(ids, fit_rows)
    table = IdTable.from_ids(known, id_column, noun=noun)
    if not config.columns:
        return table
    item_rows = table.rows32(ids)
    in_order = interactions.in_order(fit_rows)
    entering = _first_rows(interactions, item_rows, np.bincount(item_rows[fit_rows], minlength=len(table)) == 0)
    columns = []
    for name in config.columns:
        values = interactions.frame[name]
        find = _latest if config.take == "latest" else _most_frequent
        rows = find(values, item_rows, in_order, len(table))
        rows = np.where(entering >= 0, entering, rows)
        found = values.gather(pl.Series(rows).set(pl.Series(rows < 0), None))
        columns.append(found.cast(pl.String) if found.dtype in (pl.Enum, pl.Categorical) else found)
    return IdTable(table.frame.with_columns(columns), id_column, noun)


def count_conflicts(interactions: Interactions, config: CatalogueConfig) -> dict[str, int]:
    """For each column of the catalogue, the items that have more than one value in it; missing ones are none.

    Raises:
        DataError: If the interactions lack a column.
    """
    require_columns(interactions.frame, {f"catalogue column {name}": name for name in config.columns}, noun="interactions")
    item = interactions.schema.item
    counts = {}
    for name in config.columns:
        values = interactions.frame[name]
        values = values.to_physical() if values.dtype == pl.Enum else values
        values = values.fill_nan(None) if values.dtype.is_float() else values
        if values.dtype.is_nested():  # lists have no least and no greatest, but their hashes do
            values = values.hash().zip_with(values.is_not_null(), pl.Series([None], dtype=pl.UInt64))
        ends = pl.select(interactions.item_ids.alias(item), values.alias("value")).lazy().group_by(item)
        differing = ends.agg(pl.col("value").min().alias("least"), pl.col("value").max().alias("most"))
        counts[name] = int(differing.select((pl.col("least") != pl.col("most")).sum()).collect().item())
    return counts


def _first_rows(interactions: Interactions, item_rows: NDArray[np.int32], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first row of each wanted item, int64 ``[N]``; -1 of the others."""
    first = np.full(len(wanted), -1, dtype=np.int64)
    if wanted.any():
        order = interactions.order
        for stop in range(len(order), 0, -_AT_ONCE):  # from the last to the first, which is written last
            rows = order[max(0, stop - _AT_ONCE) : stop][::-1]
            first[item_rows[rows]] = rows
    return np.where(wanted, first, -1)


def _latest(values: pl.Series, item_rows: NDArray[np.int32], in_order: NDArray[np.int64], num_items: int) -> NDArray[np.int64]:
    """The row of each item's latest value that is there, int64 ``[N]``; -1 for none."""
    found = np.full(num_items, -1, dtype=np.int64)
    present = _present(values)
    for start in range(0, len(in_order), _AT_ONCE):
        rows = in_order[start : start + _AT_ONCE]
        rows = rows[present[rows]]
        found[item_rows[rows]] = rows  # of an item's rows, the last one stays
    return found


def _most_frequent(
    values: pl.Series, item_rows: NDArray[np.int32], in_order: NDArray[np.int64], num_items: int
) -> NDArray[np.int64]:
    """The latest row of each item's most frequent value that is there, int64 ``[N]``; -1 for none."""
    rows = in_order[_present(values)[in_order]]
    table = pl.DataFrame({"item": item_rows[rows], "value": _gathered(values, rows), "place": np.arange(len(rows))})
    counted = table.group_by("item", "value").agg(pl.len().alias("rows"), pl.col("place").max())
    best = counted.sort("item", "rows", "place").group_by("item", maintain_order=True).last()
    found = np.full(num_items, -1, dtype=np.int64)
    found[best["item"].to_numpy()] = rows[best["place"].to_numpy()]
    return found


def _present(values: pl.Series) -> NDArray[np.bool_]:
    present = values.is_not_null()
    return (present & values.is_not_nan().fill_null(False) if values.dtype.is_float() else present).to_numpy()


def _taken_ids(ids: pl.Series | CodedTexts, rows: NDArray[np.int64]) -> pl.Series | CodedTexts:
    return CodedTexts(ids.names, taken(ids.codes, rows)) if isinstance(ids, CodedTexts) else _gathered(ids, rows)


def _gathered(values: pl.Series, rows: NDArray[np.int64]) -> pl.Series:
    found = as_slice(rows)
    return values.gather(rows) if found is None else values.slice(found.start, len(rows))
