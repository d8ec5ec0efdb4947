"""Encoders in a graph, against those of torch: rows of every length, with the padding anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.export.running import run_graph

from twotower.errors import ConfigError
from twotower.export.columns import Encoded, RaggedValue
from twotower.export.graph import Graph
from twotower.export.layers import require_exportable, tower_vectors
from twotower.models import TwoTower, build
from twotower.nn import GRUEncoder
from twotower.spec import (
    AttentionEncoderSpec,
    EncoderSpec,
    GRUEncoderSpec,
    InputSpec,
    ModelSpec,
    TableSpec,
    TowerSpec,
    TransformerEncoderSpec,
)
from twotower.types import Ragged

LONGEST, WIDTH, ITEMS = 6, 4, 9
SPECS: list[EncoderSpec] = [
    TransformerEncoderSpec(blocks=2, heads=2),
    TransformerEncoderSpec(blocks=1, heads=1, hidden=1, gates=True),
    GRUEncoderSpec(layers=1),
    GRUEncoderSpec(layers=2),
    AttentionEncoderSpec(hidden=3),
]


def model_of(encoder: EncoderSpec) -> TwoTower:
    table = TableSpec(name="item", vocabulary_size=ITEMS, embedding_dim=WIDTH, init_scale=1.0)
    read = InputSpec(column="read", width=WIDTH, table="item", encoder=encoder, max_length=LONGEST)
    item = InputSpec(column="id", width=WIDTH, table="item")
    spec = ModelSpec(tables=(table,), query=TowerSpec(inputs=(read,)), candidate=TowerSpec(inputs=(item,)))
    model = build(spec, seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def padded(rows: list[list[int]], *, behind: bool, extra: int = 0) -> np.ndarray:
    """-1 where there is nothing: behind, or anywhere."""
    length = max((len(row) for row in rows), default=0) + extra
    found = np.full((len(rows), length), -1, dtype=np.int64)
    rng = np.random.default_rng(0)
    for at, row in enumerate(rows):
        places = np.arange(len(row)) if behind else np.sort(rng.choice(length, len(row), replace=False))
        found[at, places] = row
    return found


def exported(model: TwoTower, rows_BL: np.ndarray) -> Any:
    graph = Graph("read", opset=17)
    given = graph.input("rows", np.int64, ("n", "length"), about="")
    zero = graph.constant(np.array(0, dtype=np.int64))
    there = graph.cast(graph.node("GreaterOrEqual", given, zero), np.float32)
    found = graph.node("ReduceSum", there, graph.constant(np.array([1], dtype=np.int64)), keepdims=1)
    counts = graph.node("Max", found, graph.constant(np.array(1, dtype=np.float32)))
    columns: dict[str, Encoded] = {"read": RaggedValue(graph.node("Max", given, zero), there, counts)}
    graph.output(tower_vectors(graph, model.query, columns), "vector", np.float32, ("n", "width"), about="")
    return run_graph(graph, {"rows": rows_BL})["vector"]


ROWS = [[1, 2, 3, 4, 5, 6], [7], [], [8, 8, 1], [2, 1], [3, 0, 5, 0]]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize(("behind", "extra"), [(True, 0), (True, 3), (False, 4)])
def test_states(spec: EncoderSpec, behind: bool, extra: int) -> None:
    model = model_of(spec)
    require_exportable(model)
    values = torch.tensor([item for row in ROWS for item in row])
    offsets = torch.tensor([0, *np.cumsum([len(row) for row in ROWS])])
    with torch.inference_mode():
        expected = model.encode_queries({"read": Ragged(values, offsets)}).numpy()
    found = exported(model, padded(ROWS, behind=behind, extra=extra))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_no_items_at_all(spec: EncoderSpec) -> None:
    model = model_of(spec)
    with torch.inference_mode():
        empty = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
        expected = model.encode_queries({"read": empty}).numpy()
    np.testing.assert_allclose(exported(model, np.empty((2, 0), dtype=np.int64)), expected, rtol=2e-5, atol=2e-6)


def test_an_encoder_of_ones_own_is_refused() -> None:
    class Own(GRUEncoder):
        pass

    model = model_of(GRUEncoderSpec())
    model.query.encoder("read").__class__ = Own
    with pytest.raises(ConfigError, match=r"the query tower has an encoder .*Own, which an ONNX export does not know"):
        require_exportable(model)
