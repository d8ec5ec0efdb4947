"""Small graphs that are run at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.export.columns import Encoded, FloatsValue, RowsValue
from twotower.export.graph import Graph
from twotower.export.raw_columns import RawColumns

__all__ = ["encoded_by", "run_graph"]


def run_graph(graph: Graph, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every output of a graph."""
    import onnxruntime  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        graph.write(path, properties={})
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def encoded_by(
    encode: Callable[[RawColumns], Mapping[str, Encoded]],
    feeds: Mapping[str, NDArray[Any]],
    stand_ins: Mapping[str, object] | None = None,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Encoded columns by name, and which rows were refused."""
    graph = Graph("feature", opset=17)
    raw = RawColumns(graph, stand_ins or {})
    for name, value in encode(raw).items():
        if isinstance(value, FloatsValue):
            graph.output(value.values, f"out {name}", np.float32, ("batch", f"width of {name}"), about="")
        elif isinstance(value, RowsValue):
            graph.output(value.rows, f"out {name}", np.int64, ("batch",), about="")
    refused = raw.refused()
    if refused is not None:
        graph.output(refused, "refused", np.bool_, ("batch",), about="")
    found = run_graph(graph, feeds)
    size = len(next(iter(feeds.values())))
    marks = found.pop("refused", np.zeros(size, dtype=bool))
    return {name.removeprefix("out "): values for name, values in found.items()}, marks
