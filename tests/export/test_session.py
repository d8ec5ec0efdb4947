"""Running what was written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from twotower.errors import ExportError, MissingExtraError
from twotower.export.graph import Graph
from twotower.export.session import Session


def test_a_file_that_is_run(tmp_path: Path) -> None:
    graph = Graph("one", opset=17)
    x = graph.input("x", np.float32, ("n", 2), about="")
    graph.output(graph.node("Neg", x), "vector", np.float32, ("n", 2), about="")
    graph.write(tmp_path / "one.onnx", properties={})
    session = Session(tmp_path / "one.onnx")
    assert session.input_names == ["x"]
    assert session.run({"x": np.array([[1, -2]], np.float32)}).tolist() == [[-1, 2]]


def test_a_file_that_can_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=r"no\.onnx: onnxruntime .* can't run it"):
        Session(tmp_path / "no.onnx")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[onnx\]'"):
        Session(tmp_path / "any.onnx")
