"""What reads a sequence in order, in a graph: the state after all items of each row, wherever in the row these stand.

The graph gets padded rows, with the padding anywhere, where the encoders of `twotower.nn` get none; the state is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor as TorchTensor
from torch import nn

from twotower.export.arithmetic import whole
from twotower.export.columns import RaggedValue
from twotower.export.graph import Graph
from twotower.nn import AttentionEncoder, GRUEncoder, SequenceEncoder, TransformerEncoder

__all__ = ["ENCODERS", "sequence_state"]

ENCODERS = (TransformerEncoder, GRUEncoder, AttentionEncoder)
"""Those that are known here."""

_HIDDEN = -1e30


def sequence_state(graph: Graph, encoder: SequenceEncoder, items_BLD: str, column: RaggedValue, name: str) -> str:
    """The state after the items of each row, float32 ``[B, D]``, as `SequenceEncoder.forward` gives it in evaluation.

    Args:
        graph: That holds the column.
        encoder: One of `ENCODERS`.
        items_BLD: Vectors of the rows, float32 ``[B, L, D]``; where the column has none, anything.
        column: Which of them are there, no more than ``encoder.max_length`` of a row.
        name: Before the names of large constants.
    """
    writer = _Writer(graph, encoder.width, name)
    if isinstance(encoder, TransformerEncoder):
        return writer.transformer(encoder, items_BLD, column)
    if isinstance(encoder, GRUEncoder):
        return writer.gru(encoder, items_BLD, column)
    assert isinstance(encoder, AttentionEncoder), "models are checked before they are exported"
    return writer.attention(encoder, items_BLD, column)


class _Writer:
    def __init__(self, graph: Graph, width: int, name: str) -> None:
        self.graph, self.width, self.name = graph, width, name

    def transformer(self, encoder: TransformerEncoder, items_BLD: str, column: RaggedValue) -> str:
        graph = self.graph
        there_BT, read_BTD = self._begun(encoder.start, self._longer(items_BLD), column)
        places_BT = graph.node(
            "Sub", graph.node("CumSum", graph.cast(there_BT, np.int64), self._whole(1)), self._whole(1)
        )  # the start is place 0
        positions = graph.constant(_array(encoder.positions), f"{self.name}.positions")
        hidden = graph.node("Add", read_BTD, graph.node("Gather", positions, places_BT, axis=0))
        order_T = self._order(there_BT)
        earlier_TT = graph.node(
            "LessOrEqual", graph.node("Unsqueeze", order_T, whole(graph, 0)), graph.node("Unsqueeze", order_T, whole(graph, 1))
        )
        seen_B1TT = graph.node(
            "And",
            graph.node("Unsqueeze", graph.cast(there_BT, np.bool_), whole(graph, 1, 2)),
            graph.node("Unsqueeze", earlier_TT, whole(graph, 0, 1)),
        )
        bias_B1TT = graph.node("Where", seen_B1TT, self._number(0.0), self._number(_HIDDEN))
        for at, block in enumerate(encoder.blocks):
            hidden = self._block(block, hidden, bias_B1TT, f"{self.name}.{at}")
        # states of places that are not there are never read
        return self._norm(encoder.norm, self._last(hidden, there_BT), f"{self.name}.norm")

    def _block(self, block: Any, hidden: str, bias_B1TT: str, name: str) -> str:
        graph, heads = self.graph, block.heads
        size = self.width // heads
        normal = self._norm(block.attention_norm, hidden, f"{name}.attention_norm")
        read = self._linear(block.read, normal, f"{name}.read")
        parts = []
        for part in range(3):
            start, end = whole(graph, part * self.width), whole(graph, (part + 1) * self.width)
            own_BTD = graph.node("Slice", read, start, end, whole(graph, 2))
            by_head = graph.node("Reshape", own_BTD, whole(graph, 0, 0, heads, size))
            parts.append(graph.node("Transpose", by_head, perm=[0, 2, 3, 1] if part == 1 else [0, 2, 1, 3]))
        scores = graph.node("Mul", graph.node("MatMul", parts[0], parts[1]), self._number(size**-0.5))
        weights = graph.node("Softmax", graph.node("Add", scores, bias_B1TT), axis=-1)
        found = graph.node("Transpose", graph.node("MatMul", weights, parts[2]), perm=[0, 2, 1, 3])
        added = self._linear(block.attended, graph.node("Reshape", found, whole(graph, 0, 0, self.width)), f"{name}.attended")
        hidden = graph.node("Add", hidden, self._gated(block, 0, added, normal, name))
        normal = self._norm(block.hidden_norm, hidden, f"{name}.hidden_norm")
        inner = self._linear(block.hidden, normal, f"{name}.hidden")
        share = graph.node("Erf", graph.node("Mul", inner, self._number(0.5**0.5)))
        doubled = graph.node("Mul", inner, graph.node("Add", share, self._number(1.0)))
        added = self._linear(block.output, graph.node("Mul", doubled, self._number(0.5)), f"{name}.output")
        return graph.node("Add", hidden, self._gated(block, 1, added, normal, name))

    def _gated(self, block: Any, which: int, added: str, normal: str, name: str) -> str:
        if not block.gates:
            return added
        gate = self._linear(block.gates[which], normal, f"{name}.gates.{which}")
        return self.graph.node("Mul", added, self.graph.node("Sigmoid", gate))

    def gru(self, encoder: GRUEncoder, items_BLD: str, column: RaggedValue) -> str:
        graph, units = self.graph, encoder.units
        # to the front, whatever stood there, and a place behind, so that there is at least one
        there_BL = graph.cast(column.there, np.int64)
        order_BL = graph.node("Mul", graph.node("CumSum", there_BL, self._whole(1)), there_BL)  # 1, 2, ... where there is one
        wanted_L = graph.node("Add", self._order(column.there), self._whole(1))
        chosen_BLL = graph.node(
            "Equal", graph.node("Unsqueeze", wanted_L, whole(graph, 0, 2)), graph.node("Unsqueeze", order_BL, whole(graph, 1))
        )
        front_BLD = graph.node("MatMul", graph.cast(chosen_BLL, np.float32), self._longer(items_BLD))
        none_B1D = self._start(encoder.start[-1], column.counts)
        given = graph.node("Transpose", graph.node("Concat", front_BLD, none_B1D, axis=1), perm=[1, 0, 2])
        counts_B = graph.node("ReduceSum", there_BL, whole(graph, 1), keepdims=0)
        lengths_B = graph.cast(graph.node("Max", counts_B, self._whole(1)), np.int32)
        for layer in range(encoder.layers):
            of_input, of_state = (getattr(units, f"weight_{kind}_l{layer}") for kind in ("ih", "hh"))
            biases = _biases(units, layer)
            name = f"{self.name}.units.{layer}"
            begun_1BD = graph.node("Transpose", self._start(encoder.start[layer], column.counts), perm=[1, 0, 2])
            states_T1BD = graph.node(
                "GRU",
                given,
                graph.constant(_gates(_array(of_input))[None], f"{name}.input"),
                graph.constant(_gates(_array(of_state))[None], f"{name}.state"),
                graph.constant(biases[None], f"{name}.bias"),
                lengths_B,
                begun_1BD,
                hidden_size=self.width,
                linear_before_reset=1,
            )
            given = graph.node("Squeeze", states_T1BD, whole(graph, 1))
        last_B = graph.node("Sub", graph.node("Max", counts_B, self._whole(1)), self._whole(1))
        states_BTD = graph.node("Transpose", given, perm=[1, 0, 2])
        found_BD = self._at(states_BTD, last_B)
        empty_B1 = graph.node("Unsqueeze", graph.node("Equal", counts_B, self._whole(0)), whole(graph, 1))
        return graph.node("Where", empty_B1, graph.node("Squeeze", none_B1D, whole(graph, 1)), found_BD)

    def attention(self, encoder: AttentionEncoder, items_BLD: str, column: RaggedValue) -> str:
        graph = self.graph
        there_BT, read_BTD = self._begun(encoder.start, items_BLD, column)
        hidden = graph.node("Tanh", self._linear(encoder.hidden, self._longer(read_BTD), f"{self.name}.hidden"))
        scores_BT1 = self._linear(encoder.score, hidden, f"{self.name}.score")
        steepest = encoder.steepest
        bounded = graph.node("Tanh", graph.node("Mul", scores_BT1, self._number(1 / steepest)))
        weights = graph.node("Exp", graph.node("Mul", bounded, self._number(steepest)))
        weights_BT1 = graph.node("Mul", weights, graph.node("Unsqueeze", there_BT, whole(graph, 2)))
        total_BD = graph.node("ReduceSum", graph.node("Mul", weights_BT1, read_BTD), whole(graph, 1), keepdims=0)
        return graph.node("Div", total_BD, graph.node("ReduceSum", weights_BT1, whole(graph, 1), keepdims=0))

    def _begun(self, start: TorchTensor, items_BLD: str, column: RaggedValue) -> tuple[str, str]:
        """Which places are there (float32 ``[B, L + 1]``), and what is read at each: the start, then the items."""
        graph = self.graph
        one_B1 = graph.node("Div", column.counts, column.counts)
        read_BTD = graph.node("Concat", self._start(start, column.counts), items_BLD, axis=1)
        return graph.node("Concat", one_B1, column.there, axis=1), read_BTD

    def _start(self, start: TorchTensor, counts_B1: str) -> str:
        """A learned vector for each row, ``[B, 1, D]``."""
        shape = self.graph.node("Concat", self.graph.node("Shape", counts_B1), whole(self.graph, self.width), axis=0)
        return self.graph.node("Expand", self.graph.constant(_array(start)), shape)

    def _longer(self, items_BLD: str) -> str:
        return self.graph.node("Mul", items_BLD, self._number(self.width**0.5))

    def _order(self, values_BT: str) -> str:
        """0 to T - 1, int64."""
        graph = self.graph
        length = graph.node("Gather", graph.node("Shape", values_BT), self._whole(1), axis=0)
        return graph.node("Range", self._whole(0), length, self._whole(1))

    def _last(self, states_BTD: str, there_BT: str) -> str:
        places_BT = self.graph.node("Mul", self.graph.cast(there_BT, np.int64), self._order(there_BT))
        return self._at(states_BTD, self.graph.node("ArgMax", places_BT, axis=1, keepdims=0))

    def _at(self, states_BTD: str, places_B: str) -> str:
        """The state of one place of each row, ``[B, D]``."""
        graph = self.graph
        order_T = self._order(states_BTD)
        chosen_BT = graph.node("Equal", graph.node("Unsqueeze", places_B, whole(graph, 1)), order_T)
        # not a product with zeros: what is not read may be anything
        kept = graph.node("Where", graph.node("Unsqueeze", chosen_BT, whole(graph, 2)), states_BTD, self._number(0.0))
        return graph.node("ReduceSum", kept, whole(graph, 1), keepdims=0)

    def _linear(self, layer: object, values: str, name: str) -> str:
        assert isinstance(layer, nn.Linear)
        weight = self.graph.constant(np.ascontiguousarray(_array(layer.weight).T), f"{name}.weight")
        return self.graph.node(
            "Add", self.graph.node("MatMul", values, weight), self.graph.constant(_array(layer.bias), f"{name}.bias")
        )

    def _norm(self, layer: object, values: str, name: str) -> str:
        assert isinstance(layer, nn.LayerNorm)
        scale = self.graph.constant(_array(layer.weight), f"{name}.scale")
        shift = self.graph.constant(_array(layer.bias), f"{name}.shift")
        return self.graph.node("LayerNormalization", values, scale, shift, axis=-1, epsilon=layer.eps)

    def _number(self, value: float) -> str:
        return self.graph.constant(np.array(value, dtype=np.float32))

    def _whole(self, value: int) -> str:
        return self.graph.constant(np.array(value, dtype=np.int64))


def _biases(units: nn.GRU, layer: int) -> NDArray[np.float32]:
    """Both biases of a layer, one after the other, in the order of ONNX."""
    return np.concatenate([_gates(_array(getattr(units, f"bias_{kind}_l{layer}"))) for kind in ("ih", "hh")])


def _gates(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reset, update, new: in the order of ONNX, which is update, reset, new."""
    reset, update, new = np.split(rows, 3)
    return np.concatenate([update, reset, new])


def _array(tensor: TorchTensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array
