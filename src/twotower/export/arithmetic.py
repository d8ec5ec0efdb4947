"""Arithmetic that ONNX has no operation for, in float64, equal to numpy's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.export.graph import Graph

__all__ = [
    "column_of",
    "count_not_greater",
    "double",
    "either",
    "float_columns",
    "log1p",
    "modulo",
    "sine_and_cosine",
    "whole",
]


def double(graph: Graph, value: float) -> str:
    """A constant number, float64."""
    return graph.constant(np.array(value, dtype=np.float64))


def whole(graph: Graph, *values: int) -> str:
    """Constant integers, int64 ``[n]``, as axes and shapes are given."""
    return graph.constant(np.array(values, dtype=np.int64))


def either(graph: Graph, marks: Sequence[str]) -> str | None:
    """Where any of the marks (bool ``[B]``) is set; None without marks."""
    found: str | None = None
    for mark in marks:
        found = mark if found is None else graph.node("Or", found, mark)
    return found


def column_of(graph: Graph, values_B: str) -> str:
    """``[B]`` as ``[B, 1]``."""
    return graph.node("Unsqueeze", values_B, whole(graph, 1))


def float_columns(graph: Graph, *values_B: str) -> str:
    """float64 ``[B]``, any number of them, side by side as float32 ``[B, n]``."""
    columns = [column_of(graph, values) for values in values_B]
    joined = columns[0] if len(columns) == 1 else graph.node("Concat", *columns, axis=1)
    return graph.cast(joined, np.float32)


def count_not_greater(graph: Graph, values_B: str, edges_E: NDArray[np.float64]) -> str:
    """How many edges are not greater than a value, int64 ``[B]``: ``np.searchsorted(edges, values, side="right")``."""
    beyond_BE = graph.node("GreaterOrEqual", column_of(graph, values_B), graph.constant(edges_E[None, :]))
    return graph.node("ReduceSum", graph.cast(beyond_BE, np.int64), whole(graph, 1), keepdims=0)


def modulo(graph: Graph, values: str, divisor: float) -> str:
    """``np.mod(values, divisor)`` for a positive divisor: never negative, where ONNX's takes the sign of the value."""
    rest = graph.node("Mod", values, double(graph, divisor), fmod=1)
    below = graph.node("Less", rest, double(graph, 0.0))
    return graph.node("Where", below, graph.node("Add", rest, double(graph, divisor)), rest)


def log1p(graph: Graph, values: str) -> str:
    """``log(1 + x)`` without what rounding ``1 + x`` loses of a small x: its logarithm times ``x / ((1 + x) - 1)``."""
    one = double(graph, 1.0)
    sum_ = graph.node("Add", values, one)
    kept = graph.node("Sub", sum_, one)
    lost = graph.node("Equal", kept, double(graph, 0.0))
    ratio = graph.node("Div", values, graph.node("Where", lost, one, kept))
    return graph.node("Where", lost, values, graph.node("Mul", graph.node("Log", sum_), ratio))


def sine_and_cosine(graph: Graph, angle: str) -> tuple[str, str]:
    """Of an angle in radians; the cosine is a sine, since not every runtime has one in float64."""
    return graph.node("Sin", angle), graph.node("Sin", graph.node("Add", angle, double(graph, np.pi / 2)))
