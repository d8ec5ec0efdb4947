"""A tower's lookups and dense layers, as nodes of a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor as TorchTensor
from torch import nn

from twotower.errors import ConfigError
from twotower.export.arithmetic import whole
from twotower.export.columns import Encoded, FloatsValue, RaggedValue
from twotower.export.graph import Graph
from twotower.export.sequence_layers import ENCODERS, sequence_state
from twotower.models import Tower, TwoTower
from twotower.nn import MLP, EmbeddingCollection
from twotower.spec import HSTUEncoderSpec, InputSpec

__all__ = ["require_exportable", "tower_vectors"]

_LAYERS = (nn.Linear, nn.LayerNorm, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Dropout)
_LEAST_LENGTH = 1e-12
"""Below which a vector is not scaled to length 1; torch's own, in ``normalize``."""


def require_exportable(model: TwoTower) -> None:
    """Make sure that a model is made of parts that have been put into ONNX.

    Raises:
        ConfigError: Naming every part that is not.
    """
    faults: list[str] = []
    beyond: list[str] = []
    if type(model) is not TwoTower:
        faults.append(f"the model is a {_name(model)}")
    for name in ("query", "candidate"):
        tower = getattr(model, name)
        if type(tower) is not Tower:
            faults.append(f"the {name} tower is a {_name(tower)}")
            continue
        parts = [("tables", tower.embeddings, EmbeddingCollection), ("layers", tower.layers, MLP)]
        faults += [
            f"the {what} of the {name} tower are a {_name(part)}" for what, part, kind in parts if type(part) is not kind
        ]
        if type(tower.layers) is MLP:
            faults += [f"the {name} tower has a layer {_name(layer)}" for layer in tower.layers.layers if not _known(layer)]
        faults += [
            f"the {name} tower has an encoder {_name(encoder)}"
            for encoder in (tower.encoder(entry.column) for entry in tower.spec.inputs if entry.encoder is not None)
            if type(encoder) not in ENCODERS
        ]
        beyond += [
            f"{entry.column!r} of the {name} tower reads {' and '.join(more)}"
            for entry in tower.spec.inputs
            if entry.encoder is not None and (more := _beyond_items(entry))
        ]
        hooked = [part for part in tower.modules() if part._forward_hooks or part._forward_pre_hooks]
        faults += [f"a hook is on {_name(part)} of the {name} tower" for part in hooked]
    if beyond:
        raise ConfigError(
            [
                f"{fault}; an ONNX export knows sequences of items alone: serve the bundle, or export a model without it"
                for fault in beyond
            ]
        )
    if faults:
        raise ConfigError(
            [
                f"{fault}, which an ONNX export does not know; export a model that twotower.models.build built"
                for fault in faults
            ]
        )


def _beyond_items(entry: InputSpec) -> list[str]:
    """What an encoder reads beside items in order."""
    encoder = entry.encoder
    more = ["items by HSTU"] if isinstance(encoder, HSTUEncoderSpec) else []
    more += ["when events were"] if entry.reads_times else []
    more += ["columns of events"] if entry.events else []
    return more + (["a bias by distance"] if getattr(encoder, "relative_position", False) else [])


def tower_vectors(
    graph: Graph, tower: Tower, columns: Mapping[str, Encoded], items_ND: NDArray[np.float32] | None = None
) -> str:
    """A tower's vectors, float32 ``[B, D]``, as `Tower.forward` computes them in evaluation.

    Args:
        graph: That holds the columns.
        tower: Of parts that `require_exportable` knows.
        columns: By name of the encoded column.
        items_ND: Vectors of the catalogue, for inputs that read items; they are kept in the graph.
    """
    parts = {entry.column: _part(graph, tower, entry, columns[entry.column], items_ND) for entry in tower.spec.inputs}
    values = list(parts.values())
    hidden = values[0] if len(values) == 1 else graph.node("Concat", *values, axis=1)
    for at, layer in enumerate(tower.layers.layers):
        hidden = _layer(graph, layer, hidden, f"layers.{at}")
    for name in tower.spec.skip:
        hidden = graph.node("Add", hidden, parts[name])
    if tower.spec.l2_normalise:
        squares_B1 = graph.node("ReduceSum", graph.node("Mul", hidden, hidden), whole(graph, 1), keepdims=1)
        lengths_B1 = graph.node("Max", graph.node("Sqrt", squares_B1), _single(graph, _LEAST_LENGTH))
        hidden = graph.node("Div", hidden, lengths_B1)
    return hidden


def _part(graph: Graph, tower: Tower, entry: InputSpec, column: Encoded, items_ND: NDArray[np.float32] | None) -> str:
    """One input of the concatenation, float32 ``[B, width]``."""
    if isinstance(column, FloatsValue):
        return column.values
    if entry.items is not None:
        assert items_ND is not None, "the caller gives what the tower reads"
        table_VD = graph.constant(items_ND, "items")
    else:
        assert entry.table is not None, "bundles are checked when they are read"
        table_VD = graph.constant(_array(tower.embeddings.table(entry.table)), f"table:{entry.table}")
    rows = graph.node("Gather", table_VD, column.rows, axis=0)
    if not isinstance(column, RaggedValue):
        return rows
    if entry.encoder is not None:
        return sequence_state(graph, tower.encoder(entry.column), rows, column, f"encoder:{entry.column}")
    # a product of [1, L] with [L, D] each: nothing is summed that is not there
    weights_B1L = graph.node("Unsqueeze", column.there, whole(graph, 1))
    pooled_BD = graph.node("Squeeze", graph.node("MatMul", weights_B1L, rows), whole(graph, 1))
    pooling = entry.pooling or "mean"
    if pooling == "sum":
        return pooled_BD
    counts_B1 = column.counts if pooling == "mean" else graph.node("Sqrt", column.counts)
    return graph.node("Div", pooled_BD, counts_B1)


def _layer(graph: Graph, layer: nn.Module, hidden: str, name: str) -> str:
    if isinstance(layer, nn.Linear):
        weight, bias = (
            graph.constant(_array(layer.weight), f"{name}.weight"),
            graph.constant(_array(layer.bias), f"{name}.bias"),
        )
        return graph.node("Gemm", hidden, weight, bias, transB=1)
    if isinstance(layer, nn.LayerNorm):
        scale, shift = (
            graph.constant(_array(layer.weight), f"{name}.scale"),
            graph.constant(_array(layer.bias), f"{name}.shift"),
        )
        return graph.node("LayerNormalization", hidden, scale, shift, axis=-1, epsilon=layer.eps)
    if isinstance(layer, nn.GELU):
        share = graph.node("Erf", graph.node("Mul", hidden, _single(graph, math.sqrt(0.5))))
        doubled = graph.node("Mul", hidden, graph.node("Add", share, _single(graph, 1.0)))
        return graph.node("Mul", doubled, _single(graph, 0.5))
    if isinstance(layer, nn.SiLU):
        return graph.node("Mul", hidden, graph.node("Sigmoid", hidden))
    if isinstance(layer, nn.Dropout):
        return hidden
    return graph.node("Relu" if isinstance(layer, nn.ReLU) else "Tanh", hidden)


def _known(layer: nn.Module) -> bool:
    if type(layer).__module__ == MLP.__module__ and isinstance(layer, nn.Linear):
        return True
    if isinstance(layer, nn.GELU) and layer.approximate != "none":
        return False
    if isinstance(layer, nn.LayerNorm) and (layer.weight is None or layer.bias is None or len(layer.normalized_shape) != 1):
        return False
    return type(layer) in _LAYERS


def _single(graph: Graph, value: float) -> str:
    return graph.constant(np.array(value, dtype=np.float32))


def _array(tensor: TorchTensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array


def _name(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"
