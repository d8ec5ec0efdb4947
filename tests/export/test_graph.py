"""Graphs as files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.export.running import run_graph

from twotower.errors import ConfigError, MissingExtraError
from twotower.export.graph import LEAST_OPSET, Graph, check_opset
from twotower.export.session import Session


def table_graph(rows: int) -> Graph:
    graph = Graph("tables", opset=17)
    at = graph.input("at", np.int64, ("n",), about="a row")
    table = graph.constant(np.arange(rows * 4, dtype=np.float32).reshape(rows, 4), "table")
    assert graph.constant(np.zeros(1), "table") == "table"  # a name stands for what it first stood for
    found = graph.node("Gather", table, at, axis=0)
    graph.output(graph.node("Add", found, graph.constant(np.array(1, np.float32))), "vector", np.float32, ("n", 4), about="")
    return graph


def test_a_graph_that_is_run() -> None:
    assert run_graph(table_graph(3), {"at": np.array([2, 0])})["vector"].tolist() == [[9, 10, 11, 12], [1, 2, 3, 4]]


def test_large_tables_go_into_a_file_of_their_own(tmp_path: Path) -> None:
    files = table_graph(5000).write(tmp_path / "big.onnx", properties={"a": "b"}, in_the_file=10_000)
    assert [file.name for file in files] == ["big.onnx", "big.onnx.data"]
    assert files[0].stat().st_size < 2000 < 80_000 == files[1].stat().st_size
    assert Session(files[0]).run({"at": np.array([4999])}).tolist() == [[19997, 19998, 19999, 20000]]
    assert len(table_graph(5000).write(tmp_path / "small.onnx", properties={})) == 1


def test_tables_beside_begin_where_a_runtime_may_map_them(tmp_path: Path) -> None:
    import onnx

    graph = Graph("tables", opset=17)
    at = graph.input("at", np.int64, ("n",), about="")
    tables = [np.full((rows, 2), rows, dtype=np.float32) for rows in (1000, 1001, 1002)]
    found = [graph.node("Gather", graph.constant(table, f"table:{len(table)}"), at, axis=0) for table in tables]
    graph.output(graph.node("Concat", *found, axis=1), "vector", np.float32, ("n", 6), about="")
    path, _ = graph.write(tmp_path / "g.onnx", properties={}, in_the_file=0)
    assert Session(path).run({"at": np.array([999])}).tolist() == [[1000, 1000, 1001, 1001, 1002, 1002]]
    tensors = onnx.load(str(path), load_external_data=False).graph.initializer
    offsets = [int(entry.value) for tensor in tensors for entry in tensor.external_data if entry.key == "offset"]
    assert offsets == [0, 8192, 16384]


def test_equal_constants_are_there_once() -> None:
    graph = Graph("constants", opset=17)
    assert graph.constant(np.array([1.0])) == graph.constant(np.array([1.0]))
    different = {
        graph.constant(array) for array in (np.array([1.0]), np.array(1.0), np.array([1.0], np.float32), np.array([1]))
    }
    assert len(different) == 4


@pytest.mark.parametrize("opset", [1, LEAST_OPSET - 1, 10_000])
def test_opsets_that_are_not_written(opset: int) -> None:
    with pytest.raises(ConfigError, match=f"came {opset}"):
        check_opset(opset)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[onnx\]'"):
        Graph("none", opset=17)


def test_a_graph_that_is_wrong_is_not_written_quietly(tmp_path: Path) -> None:
    graph = Graph("wrong", opset=17)
    x = graph.input("x", np.float32, ("n",), about="")
    graph.output(graph.node("Or", x, x), "y", np.float32, ("n",), about="")
    with pytest.raises(Exception, match="Or"):
        graph.write(tmp_path / "wrong.onnx", properties={})
