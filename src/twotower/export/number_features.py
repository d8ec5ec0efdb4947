"""Numbers, buckets, times and vectors, encoded in a graph as preprocessing does."""

from __future__ import annotations

import numpy as np

from twotower.export.arithmetic import (
    count_not_greater,
    double,
    float_columns,
    log1p,
    modulo,
    sine_and_cosine,
    whole,
)
from twotower.export.columns import Encoded, FloatsValue, RowsValue
from twotower.export.graph import Graph
from twotower.export.raw_columns import Numbers, RawColumns
from twotower.preprocessing import FillNumber, FittedBuckets, FittedNumber, FittedTimestamp, FittedVector

__all__ = ["encode_buckets", "encode_number", "encode_timestamp", "encode_vector"]

_DAY_S = 86_400.0
_THURSDAY = 3.0
"""1970-01-01, counted from Monday."""


def encode_number(raw: RawColumns, feature: FittedNumber) -> dict[str, Encoded]:
    """As `FittedNumber.encode`."""
    graph, config = raw.graph, feature.config
    values, missing = _read(raw, feature)
    values = _clipped(graph, values, feature.minimum, feature.maximum)
    if config.transform == "log1p":
        values = log1p(graph, values)
    if missing is not None:
        values = graph.node("Where", missing, double(graph, feature.mean), values)
    if config.standardise:
        values = _standardised(graph, values, feature.mean, feature.std)
    parts = [values]
    if config.missing == "own":
        zeros = graph.node("Mul", values, double(graph, 0.0))
        parts.append(zeros if missing is None else graph.cast(missing, np.float64))
    return {config.output_name: FloatsValue(float_columns(graph, *parts))}


def encode_buckets(raw: RawColumns, feature: FittedBuckets) -> dict[str, Encoded]:
    """As `FittedBuckets.encode`."""
    graph = raw.graph
    values, missing = _read(raw, feature)
    if feature.clip is not None:
        values = _clipped(graph, values, *feature.clip)
    rows = count_not_greater(graph, values, np.asarray(feature.edges, dtype=np.float64))
    if missing is not None and feature.config.missing == "own_row":
        last = graph.constant(np.array(len(feature.edges) + 1, dtype=np.int64))
        rows = graph.node("Where", missing, last, rows)
    return {feature.config.output_name: RowsValue(rows)}


def encode_timestamp(raw: RawColumns, feature: FittedTimestamp) -> dict[str, Encoded]:
    """As `FittedTimestamp.encode`."""
    graph, chosen, name = raw.graph, feature.config, feature.config.output_name
    seconds, missing = raw.numbers(chosen.column, kind="timestamp")
    if missing is not None:
        seconds = graph.node("Where", missing, double(graph, feature.maximum), seconds)
    clipped = _clipped(graph, seconds, feature.minimum, feature.maximum)
    encoded: dict[str, Encoded] = {}
    if chosen.num_edges is not None:
        edges = np.linspace(feature.minimum, feature.maximum, chosen.num_edges)
        encoded[f"{name}.bucket"] = RowsValue(count_not_greater(graph, clipped, edges))
    if chosen.standardise:
        standardised = _standardised(graph, clipped, feature.mean, feature.std)
        encoded[f"{name}.standardised"] = FloatsValue(float_columns(graph, standardised))
    if chosen.hour_of_day:
        of_day = graph.node("Div", modulo(graph, seconds, _DAY_S), double(graph, _DAY_S))
        encoded[f"{name}.hour"] = _turn(graph, of_day)
    if chosen.day_of_week:
        day = graph.node("Floor", graph.node("Div", seconds, double(graph, _DAY_S)))
        weekday = modulo(graph, graph.node("Add", day, double(graph, _THURSDAY)), 7.0)
        encoded[f"{name}.weekday"] = _turn(graph, graph.node("Div", weekday, double(graph, 7.0)))
    return encoded


def encode_vector(raw: RawColumns, feature: FittedVector) -> dict[str, Encoded]:
    """As `FittedVector.encode`."""
    graph, config = raw.graph, feature.config
    vectors_BW = raw.vectors(config.column, feature.width, required=config.missing == "error")
    if config.normalise:
        squares_B1 = graph.node("ReduceSum", graph.node("Mul", vectors_BW, vectors_BW), whole(graph, 1), keepdims=1)
        lengths_B1 = graph.node("Sqrt", squares_B1)
        nothing_B1 = graph.node("Equal", lengths_B1, double(graph, 0.0))
        vectors_BW = graph.node("Div", vectors_BW, graph.node("Where", nothing_B1, double(graph, 1.0), lengths_B1))
    return {config.output_name: FloatsValue(graph.cast(vectors_BW, np.float32))}


def _read(raw: RawColumns, feature: FittedNumber | FittedBuckets) -> Numbers:
    """The column, filled and clipped as the feature's config has it."""
    config = feature.config
    values, missing = raw.numbers(config.column, kind=feature.kind, required=config.missing == "error")
    if missing is not None and isinstance(config.missing, FillNumber):
        values = raw.graph.node("Where", missing, double(raw.graph, config.missing.fill), values)
        missing = None
    if config.clip is not None:
        values = _clipped(raw.graph, values, *config.clip)
    return Numbers(values, missing)


def _clipped(graph: Graph, values: str, low: float, high: float) -> str:
    return graph.node("Clip", values, double(graph, low), double(graph, high))


def _standardised(graph: Graph, values: str, mean: float, std: float) -> str:
    if std == 0:
        return graph.node("Mul", values, double(graph, 0.0))
    return graph.node("Div", graph.node("Sub", values, double(graph, mean)), double(graph, std))


def _turn(graph: Graph, fraction: str) -> FloatsValue:
    """Sine and cosine of a fraction of a turn."""
    angle = graph.node("Mul", double(graph, 2 * np.pi), fraction)
    return FloatsValue(float_columns(graph, *sine_and_cosine(graph, angle)))
