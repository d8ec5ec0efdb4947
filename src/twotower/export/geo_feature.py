"""A place, encoded in a graph as preprocessing does: a point on the sphere and the cells that it lies in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.export.arithmetic import column_of, double, float_columns, sine_and_cosine
from twotower.export.columns import Encoded, FloatsValue, RowsValue
from twotower.export.graph import Graph
from twotower.export.raw_columns import RawColumns
from twotower.preprocessing import FittedGeo, Lookup
from twotower.preprocessing.cells import ring_sizes

__all__ = ["encode_geo", "paged_rows"]

_PAGE = 64
_MOST = (180.0, 90.0)


def encode_geo(raw: RawColumns, feature: FittedGeo) -> dict[str, Encoded]:
    """As `FittedGeo.encode`."""
    graph, config = raw.graph, feature.config
    strict = config.out_of_range == "error"
    degrees, absent, outside = [], [], []
    for column, most in zip(config.source_columns, _MOST, strict=True):
        values, missing = raw.numbers(column, kind="geo", range_=(-most, most) if strict else None)
        degrees.append(values)
        absent += [] if missing is None else [missing]
        outside.append(graph.node("Greater", graph.node("Abs", values), double(graph, most)))
    nowhere = graph.node("Or", *outside)
    if strict:
        raw.refuse(nowhere)
    missing = nowhere
    for mark in absent:
        missing = graph.node("Or", missing, mark)
    longitude, latitude = (graph.node("Where", missing, double(graph, 0.0), values) for values in degrees)
    name = config.name
    encoded: dict[str, Encoded] = {name: FloatsValue(_points(graph, longitude, latitude, missing))}
    for suffix, lookup, height in zip(("coarse", "fine"), (feature.coarse, feature.fine), config.cells, strict=True):
        rows = _rows(graph, _cells(graph, longitude, latitude, height), lookup, height)
        last = graph.constant(np.array(lookup.size, dtype=np.int64))
        encoded[f"{name}_{suffix}"] = RowsValue(graph.node("Where", missing, last, rows))
    return encoded


def _points(graph: Graph, longitude: str, latitude: str, missing: str) -> str:
    degree = double(graph, np.pi / 180)
    sin_east, cos_east = sine_and_cosine(graph, graph.node("Mul", longitude, degree))
    sin_north, cos_north = sine_and_cosine(graph, graph.node("Mul", latitude, degree))
    xyz = [graph.node("Mul", cos_north, cos_east), graph.node("Mul", cos_north, sin_east), sin_north]
    mark = column_of(graph, graph.cast(missing, np.float32))
    there = graph.node("Sub", graph.constant(np.array(1, dtype=np.float32)), mark)
    return graph.node("Concat", graph.node("Mul", float_columns(graph, *xyz), there), mark, axis=1)


def _cells(graph: Graph, longitude: str, latitude: str, height: float) -> str:
    """The number of the cell of each place, int64 ``[B]``, by the same roundings as `twotower.preprocessing.cells`."""
    sizes, starts = ring_sizes(height)
    up = graph.node("Floor", graph.node("Div", graph.node("Add", latitude, double(graph, 90.0)), double(graph, height)))
    ring = graph.node("Min", graph.cast(up, np.int64), graph.constant(np.array(len(sizes) - 1, dtype=np.int64)))
    size = graph.node("Gather", graph.constant(sizes, f"cells:{height:g}:sizes"), ring, axis=0)
    start = graph.node("Gather", graph.constant(starts, f"cells:{height:g}:starts"), ring, axis=0)
    turn = graph.node("Div", graph.node("Add", longitude, double(graph, 180.0)), double(graph, 360.0))
    along = graph.node("Floor", graph.node("Mul", turn, graph.cast(size, np.float64)))
    return graph.node("Add", start, graph.node("Mod", graph.cast(along, np.int64), size))


def _rows(graph: Graph, cells: str, lookup: Lookup, height: float) -> str:
    """Rows of cells, int64 ``[B]``; 0 for one that train never saw."""
    sizes, _ = ring_sizes(height)
    pages, entries = paged_rows(lookup.ids.to_numpy(), int(sizes.sum()))
    length = graph.constant(np.array(_PAGE, dtype=np.int64))
    page = graph.node("Gather", graph.constant(pages), graph.node("Div", cells, length), axis=0)
    place = graph.node("Add", graph.node("Mul", graph.cast(page, np.int64), length), graph.node("Mod", cells, length))
    return graph.cast(graph.node("Gather", graph.constant(entries), place, axis=0), np.int64)


def paged_rows(cells: NDArray[np.int64], total: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where the row of each cell of a grid stands: on a page for every 64 cells in a row, of which most grids have few.

    A table of all cells would be simpler, and 1.6 GB for the finest grid.

    Args:
        cells: Known cells; the first has row 1.
        total: How many cells the grid has.

    Returns:
        The page of each 64 cells, and the pages end to end; page 0 has only zeros. The row of cell ``c`` is
        ``entries[pages[c // 64] * 64 + c % 64]``, 0 for one that is not known.

    Example:
        >>> pages, entries = paged_rows(np.array([70, 3]), 130)
        >>> pages.tolist(), entries[1 * 64 + 3], entries[2 * 64 + 6], entries.sum()
        ([1, 2, 0], np.int32(2), np.int32(1), np.int64(3))
    """
    # a cell that the grid does not have is never asked for
    rows = np.flatnonzero((cells >= 0) & (cells < total))
    known = cells[rows]
    used, page_of = np.unique(known // _PAGE, return_inverse=True)
    pages = np.zeros(-(-total // _PAGE), dtype=np.int32)
    pages[used] = np.arange(1, len(used) + 1)
    entries = np.zeros((len(used) + 1) * _PAGE, dtype=np.int32)
    entries[(page_of + 1) * _PAGE + known % _PAGE] = rows + 1
    return pages, entries
