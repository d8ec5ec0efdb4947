"""Inputs of a graph, each once, and rows that must not be believed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.export.running import run_graph

from twotower.errors import ConfigError
from twotower.export import NumberInput, RowInput, VocabularyLookup
from twotower.export.graph import Graph
from twotower.export.raw_columns import RawColumns


def row(name: str) -> RowInput:
    lookup = VocabularyLookup(file="v", values="text", unknown_row=0)
    return RowInput(name=name, about="", feature=name, column=name, lookup=lookup, missing_row=0, vocabulary_size=3)


def test_a_column_that_two_features_read_is_one_input() -> None:
    raw = RawColumns(Graph("g", opset=17), {})
    first = raw.numbers("x", kind="number")
    assert raw.numbers("x", kind="buckets", required=True) == first
    (entry,) = raw.inputs()
    assert isinstance(entry, NumberInput)
    assert (entry.read_as, entry.required, entry.range) == (("number", "buckets"), True, None)
    assert entry.about == "the number x; NaN where it is missing, which it must not be"


def test_two_inputs_of_one_name() -> None:
    raw = RawColumns(Graph("g", opset=17), {})
    raw.numbers("city.row", kind="number")
    with pytest.raises(ConfigError, match=r"two inputs of a tower would have the name 'city\.row'"):
        raw.row(row("city.row"))


def test_ranges_meet() -> None:
    raw = RawColumns(Graph("g", opset=17), {})
    raw.numbers("x", kind="geo", range_=(-180, 180))
    raw.numbers("x", kind="geo", range_=(-90, 90))
    raw.numbers("x", kind="number")
    (entry,) = raw.inputs()
    assert isinstance(entry, NumberInput)
    assert entry.range == (-90, 90)


def test_all_that_is_refused() -> None:
    graph = Graph("g", opset=17)
    raw = RawColumns(graph, {"b": 4})
    raw.numbers("a", kind="number", required=True)
    filled = raw.numbers("b", kind="number", required=True)
    raw.row(row("c.row"))
    raw.row(row("d.row"))
    refused = raw.refused()
    assert refused is not None
    graph.output(refused, "refused", np.bool_, ("batch",), about="")
    graph.output(filled.values, "filled", np.float64, ("batch",), about="")
    nan, inf = np.nan, np.inf
    feeds = {
        "a": np.array([1, nan, 1, 1, 1, inf]),
        "b": np.array([1, 1, nan, 1, 1, 1]),
        "c.row": np.array([0, 0, 0, -1, 0, 0]),
        "d.row": np.array([0, 0, 0, 0, -7, 0]),
    }
    found = run_graph(graph, feeds)
    assert found["refused"].tolist() == [False, True, False, True, True, True]
    assert found["filled"].tolist() == [1, 1, 4, 1, 1, 1]


def test_nothing_to_refuse() -> None:
    assert RawColumns(Graph("g", opset=17), {}).refused() is None
