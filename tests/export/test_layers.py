"""A tower's layers in a graph, and parts that are not known there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.running import run_graph
from torch import nn

from twotower.errors import ConfigError
from twotower.export.columns import Encoded, FloatsValue, RowsValue
from twotower.export.graph import Graph
from twotower.export.layers import require_exportable, tower_vectors
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec


def model_of(**tower: Any) -> TwoTower:
    inputs = (InputSpec(column="id", width=4, table="ids"), InputSpec(column="x", width=3))
    spec = TowerSpec(inputs=inputs, **{"layer_sizes": (5, 4), **tower})
    table = TableSpec(name="ids", vocabulary_size=9, embedding_dim=4, init_scale=1.0)
    model = build(ModelSpec(tables=(table,), query=spec, candidate=spec, share_layers=True), seed=3).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    return model


@pytest.mark.parametrize(
    "tower",
    [
        {},
        {"layer_sizes": ()},
        {"activation": "gelu", "layer_norm": True},
        {"activation": "silu", "hidden_dropout": 0.5},
        {"activation": "tanh", "l2_normalise": True},
        {"skip": ("id",), "input_dropout": 0.5, "layer_norm": True},
    ],
)
@pytest.mark.parametrize("side", ["query", "candidate"])
def test_vectors(tower: dict[str, Any], side: str) -> None:
    model = model_of(**tower)
    part = getattr(model, side)
    rows, floats = np.array([0, 8, 3, 3]), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = Graph("layers", opset=17)
    columns: dict[str, Encoded] = {
        "id": RowsValue(graph.input("id", np.int64, ("n",), about="")),
        "x": FloatsValue(graph.input("x", np.float32, ("n", 3), about="")),
    }
    graph.output(tower_vectors(graph, part, columns), "vector", np.float32, ("n", "width"), about="")
    with torch.inference_mode():
        expected = part({"id": torch.from_numpy(rows), "x": torch.from_numpy(floats)}).numpy()
    np.testing.assert_allclose(run_graph(graph, {"id": rows, "x": floats})["vector"], expected, rtol=1e-5, atol=1e-5)


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def another_layer(model: TwoTower) -> None:
    model.query.layers.layers[0] = Doubled(7, 5)


def approximate_gelu(model: TwoTower) -> None:
    model.query.layers.layers[1] = nn.GELU(approximate="tanh")


def a_hook(model: TwoTower) -> None:
    model.candidate.layers.layers[0].register_forward_hook(lambda _module, _inputs, output: output * 2)


def other_layers(model: TwoTower) -> None:
    model.candidate.layers = nn.Sequential()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (another_layer, "Doubled"),
        (approximate_gelu, "torch.nn.modules.activation.GELU"),
        (a_hook, "a hook is on"),
        (other_layers, "the layers of the candidate tower are a torch.nn.modules.container.Sequential"),
    ],
)
def test_parts_that_are_not_known_are_named(change: Callable[[TwoTower], None], named: str) -> None:
    model = model_of()
    require_exportable(model)
    change(model)
    with pytest.raises(ConfigError, match=re.escape(named)):
        require_exportable(model)
