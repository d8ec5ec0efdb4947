"""Arithmetic beside numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.running import run_graph

from twotower.export.arithmetic import count_not_greater, log1p, modulo, sine_and_cosine
from twotower.export.graph import Graph

VALUES = [0.0, -0.0, 1e-18, -1e-9, 0.5, -0.999999, 3.0, -7.25, 86400.0, -86400.0, 1.7e9, 1e15, -1e-300]


def run(build: object, values: list[float]) -> np.ndarray:
    graph = Graph("arithmetic", opset=17)
    given_ = graph.input("x", np.float64, ("n",), about="")
    graph.output(build(graph, given_), "y", np.float64, ("n",), about="")  # type: ignore[operator]
    return run_graph(graph, {"x": np.array(values)})["y"]


def test_the_logarithm_of_one_and_a_little() -> None:
    values = [value for value in VALUES if value > -1]
    np.testing.assert_allclose(run(log1p, values), np.log1p(values), rtol=1e-14, atol=0)


@pytest.mark.parametrize("divisor", [7.0, 86400.0])
def test_a_rest_is_never_negative(divisor: float) -> None:
    found = run(lambda graph, x: modulo(graph, x, divisor), VALUES)
    assert found.tolist() == np.mod(VALUES, divisor).tolist()
    assert (found >= 0).all()


def test_turns() -> None:
    angles = np.linspace(-7, 7, 200).tolist()
    np.testing.assert_allclose(run(lambda graph, x: sine_and_cosine(graph, x)[0], angles), np.sin(angles), atol=1e-14)
    np.testing.assert_allclose(run(lambda graph, x: sine_and_cosine(graph, x)[1], angles), np.cos(angles), atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(
    edges=st.lists(st.floats(-100, 100), min_size=1, max_size=9).map(sorted),
    values=st.lists(st.floats(-120, 120), min_size=1, max_size=20),
)
def test_edges_that_are_not_greater_are_counted(edges: list[float], values: list[float]) -> None:
    graph = Graph("arithmetic", opset=17)
    x = graph.input("x", np.float64, ("n",), about="")
    graph.output(count_not_greater(graph, x, np.array(edges)), "y", np.int64, ("n",), about="")
    both = values + edges  # a value that is an edge belongs above it
    assert run_graph(graph, {"x": np.array(both)})["y"].tolist() == np.searchsorted(edges, both, side="right").tolist()
