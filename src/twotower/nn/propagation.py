"""Light propagation of embeddings over a graph of interactions (LightGCN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.nn.interaction_graph import InteractionGraph, Neighbours
from twotower.nn.native_propagation import can_propagate, native_layer

__all__ = ["Propagation", "layer_weights", "propagate"]


def layer_weights(layers: int) -> tuple[float, ...]:
    """The mean of layers 0 to ``layers``, as LightGCN takes it."""
    return (1 / (layers + 1),) * (layers + 1)


@dataclass(frozen=True, slots=True)
class Propagation:
    """Two tables whose rows are looked up as they are after propagation over a graph.

    Attributes:
        query_table: Name of the table of the graph's queries.
        candidate_table: Name of the table of its candidates.
        graph: Who interacted with what.
        weights: Of layers 0 to K.
    """

    query_table: str
    candidate_table: str
    graph: InteractionGraph
    weights: tuple[float, ...]
    _prepared: dict[tuple[torch.device, torch.dtype], InteractionGraph] = field(default_factory=dict, compare=False, repr=False)

    @property
    def tables(self) -> tuple[str, str]:
        """Names of both tables."""
        return self.query_table, self.candidate_table

    def __call__(self, queries_UD: Tensor, candidates_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Both tables, propagated; see `propagate`."""
        key = queries_UD.device, queries_UD.dtype
        if key not in self._prepared:
            self._prepared[key] = self.graph.to(*key)
        return propagate(self._prepared[key], queries_UD, candidates_ID, self.weights)


def propagate(
    graph: InteractionGraph, queries_UD: Tensor, candidates_ID: Tensor, weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Weighted sums of the layers of LightGCN (He et al. 2020, arXiv 2002.02126, equations 7 and 8).

    With ``E`` both tables one above the other, ``A`` the graph's adjacency matrix and ``D`` its degrees::

        E^(0) = E;  E^(k+1) = D^-1/2 A D^-1/2 E^(k);  result = sum of weights[k] E^(k)

    The operator is linear and symmetric, so that the gradient of the tables is that of the result, propagated; it has
    derivatives of every order. Of a row without neighbours only layer 0 is not zero.

    Args:
        graph: On the device of the tables, ``scale`` in their dtype; see `InteractionGraph.to`.
        queries_UD: The query table, float.
        candidates_ID: The candidate table, as wide.
        weights: Of layers 0 to K. ``(1,)`` gives the tables themselves.

    Returns:
        Both tables, propagated.

    Raises:
        ValueError: If the tables do not fit the graph or each other, or there is no weight.
    """
    shapes = tuple(queries_UD.shape), tuple(candidates_ID.shape)
    width = queries_UD.shape[-1]
    if shapes != ((len(graph.queries), width), (len(graph.candidates), width)):
        raise ValueError(
            f"the graph is of {len(graph.queries)} query rows and {len(graph.candidates)} candidate rows, and both tables must "
            f"be equally wide; came tables of {list(shapes[0])} and {list(shapes[1])}"
        )
    if not weights:
        raise ValueError("propagation needs the weight of layer 0 at least; came none")
    if tuple(weights) == (1.0,):
        return queries_UD, candidates_ID
    found: tuple[Tensor, Tensor] = _Propagated.apply(  # type: ignore[no-untyped-call]
        graph, tuple(weights), queries_UD, candidates_ID
    )
    return found


class _Propagated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, graph: InteractionGraph, weights: tuple[float, ...], queries_UD: Tensor, candidates_ID: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.weights = graph, weights
        return _weighted_layers(graph, queries_UD, candidates_ID, weights)

    @staticmethod
    def backward(ctx: Any, grad_UD: Tensor, grad_ID: Tensor) -> tuple[Tensor | None, ...]:
        grads: tuple[Tensor, Tensor] = _Propagated.apply(  # type: ignore[no-untyped-call]
            ctx.graph, ctx.weights, grad_UD, grad_ID
        )
        return None, None, *grads


def _weighted_layers(
    graph: InteractionGraph, queries_UD: Tensor, candidates_ID: Tensor, weights: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """By Horner's rule, ``w0 E + P (w1 E + P (w2 E ...))``: one product for each layer, and no layer is kept."""
    if len(weights) == 1:
        return queries_UD * weights[0], candidates_ID * weights[0]
    queries, candidates, factor = queries_UD, candidates_ID, weights[-1]
    for weight in reversed(weights[:-1]):
        queries, candidates = (
            _layer(graph.queries, graph.candidates, candidates, factor, queries_UD, weight),
            _layer(graph.candidates, graph.queries, queries, factor, candidates_ID, weight),
        )
        factor = 1.0
    return queries, candidates


def _layer(own: Neighbours, others: Neighbours, from_VD: Tensor, factor: float, own_VD: Tensor, own_factor: float) -> Tensor:
    """``own_factor own_VD[r] + factor scale[r] * sum of others.scale[n] from_VD[n]`` over the neighbours ``n`` of each row."""
    if can_propagate(own.scale, others.scale, from_VD, own_VD):
        return native_layer(own, others, from_VD, factor, own_VD, own_factor)
    rows = own.rows.to(torch.int64)
    summed_VD = F.embedding_bag(
        rows, from_VD, own.offsets, mode="sum", per_sample_weights=others.scale[rows], include_last_offset=True
    )
    return own_VD * own_factor + summed_VD * (own.scale * factor).unsqueeze(1)
