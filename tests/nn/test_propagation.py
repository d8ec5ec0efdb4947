"""Propagation against the matrix of the paper, dense and in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.native import native_status
from twotower.nn import InteractionGraph, Propagation, layer_weights, propagate
from twotower.nn.native_propagation import can_propagate

CPU = torch.device("cpu")
Pairs = list[tuple[int, int]]

GRAPHS: dict[str, tuple[int, int, Pairs]] = {
    "no edge": (3, 4, []),
    "one edge": (3, 4, [(1, 2)]),
    "repeats": (3, 4, [(1, 2), (2, 2), (1, 2), (1, 2)]),
    "rows without edges, and the unknown ones": (6, 5, [(1, 1), (1, 3), (4, 3), (0, 3), (4, 0)]),
    "all of it": (4, 3, [(query, candidate) for query in range(1, 4) for candidate in range(1, 3)]),
}
_drawn = np.random.default_rng(3).integers(0, (40, 60), (300, 2))
GRAPHS["many"] = (40, 60, [(int(query), int(candidate)) for query, candidate in _drawn])


def graph_of(name: str) -> InteractionGraph:
    num_queries, num_candidates, pairs = GRAPHS[name]
    queries, candidates = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return InteractionGraph.from_pairs(queries, candidates, num_queries=num_queries, num_candidates=num_candidates)


def matrix(name: str, weights: Sequence[float]) -> NDArray[np.float64]:
    """``sum of weights[k] (D^-1/2 A D^-1/2)^k`` of both tables one above the other, from the pairs themselves."""
    num_queries, num_candidates, pairs = GRAPHS[name]
    adjacency = np.zeros((num_queries + num_candidates,) * 2)
    for query, candidate in pairs:
        if query and candidate:
            adjacency[query, num_queries + candidate] = adjacency[num_queries + candidate, query] = 1
    degrees = adjacency.sum(1)
    with np.errstate(divide="ignore"):
        root = np.diag(np.where(degrees > 0, degrees**-0.5, 0))
    step = root @ adjacency @ root
    powers: list[NDArray[np.float64]] = [weight * np.linalg.matrix_power(step, k) for k, weight in enumerate(weights)]
    found: NDArray[np.float64] = np.sum(powers, axis=0)
    return found


def tables_of(name: str, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dim)
    num_queries, num_candidates, _ = GRAPHS[name]
    first, second = (torch.randn(size, dim, generator=generator).to(dtype) for size in (num_queries, num_candidates))
    return first.requires_grad_(), second.requires_grad_()


WEIGHTS = [(0.5,), (0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.1, 0.0, 2.0), layer_weights(4)]


@pytest.mark.parametrize("way", ["torch, float64", "torch, float32", "kernel"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", GRAPHS)
def test_value_and_gradient_are_those_of_the_matrix(
    name: str, weights: tuple[float, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "kernel" and not native_status("propagate").available:
        pytest.skip("there is no C compiler")
    monkeypatch.setenv("TWOTOWER_NATIVE", "1" if way == "kernel" else "0")
    dtype = torch.float64 if way == "torch, float64" else torch.float32
    queries, candidates = tables_of(name, 7, dtype)
    graph = graph_of(name).to(CPU, dtype)
    assert can_propagate(graph.queries.scale, queries, candidates) == (way == "kernel")
    found = torch.cat(propagate(graph, queries, candidates, weights))
    loss = torch.randn(found.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found.backward(loss)  # type: ignore[no-untyped-call]
    operator = torch.from_numpy(matrix(name, weights))
    both = torch.cat([queries, candidates]).detach().double()
    assert queries.grad is not None
    assert candidates.grad is not None
    within = 1e-12 if dtype == torch.float64 else 1e-5
    gradient = torch.cat([queries.grad, candidates.grad]).double()
    torch.testing.assert_close(found.detach().double(), operator @ both, rtol=within, atol=within)
    torch.testing.assert_close(gradient, operator.T @ loss.double(), rtol=within, atol=within)


def test_it_has_derivatives_of_every_order() -> None:
    graph = graph_of("rows without edges, and the unknown ones").to(CPU, torch.float64)
    queries, candidates = tables_of("rows without edges, and the unknown ones", 2, torch.float64)

    def cubed(queries: Tensor, candidates: Tensor) -> Tensor:
        first, second = propagate(graph, queries, candidates, (0.2, 0.5, 0.3))
        return (first**3).sum() + (second**3).sum()

    assert torch.autograd.gradcheck(cubed, (queries, candidates))
    assert torch.autograd.gradgradcheck(cubed, (queries, candidates))


def test_a_loss_of_one_table_reaches_the_other() -> None:
    queries, candidates = tables_of("one edge", 3)
    first, _ = propagate(graph_of("one edge").to(CPU, torch.float32), queries, candidates, (0.5, 0.25))
    first.sum().backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None
    assert candidates.grad is not None
    assert queries.grad.tolist() == [[0.5] * 3] * 3
    assert candidates.grad.tolist() == [[0.0] * 3, [0.0] * 3, [0.25] * 3, [0.0] * 3]


def test_no_layers_give_the_tables_themselves() -> None:
    queries, candidates = tables_of("many", 3)
    found = propagate(graph_of("many").to(CPU, torch.float32), queries, candidates, layer_weights(0))
    assert found[0] is queries
    assert found[1] is candidates


def test_weights_are_a_mean_unless_they_are_said() -> None:
    assert layer_weights(3) == (0.25, 0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("queries", "candidates"), [((4, 2), (4, 2)), ((3, 2), (3, 2)), ((3, 2), (4, 3)), ((3,), (4,)), ((3, 2, 2), (4, 2, 2))]
)
def test_tables_of_another_graph(queries: tuple[int, ...], candidates: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the graph is of 3 query rows and 4 candidate rows, and both tables must be equally"):
        propagate(graph_of("one edge"), torch.zeros(queries), torch.zeros(candidates), (1.0, 1.0))


def test_a_weight_is_needed() -> None:
    with pytest.raises(ValueError, match="the weight of layer 0 at least; came none"):
        propagate(graph_of("one edge"), torch.zeros(3, 2), torch.zeros(4, 2), ())


def test_a_propagation_fits_tables_of_any_dtype() -> None:
    propagation = Propagation("user", "item", graph_of("many"), (0.5, 0.5))
    assert propagation.tables == ("user", "item")
    for dtype in (torch.float32, torch.float64, torch.float32):
        queries, candidates = tables_of("many", 4, dtype)
        found = torch.cat(propagation(queries, candidates))
        assert found.dtype == dtype
        operator = torch.from_numpy(matrix("many", (0.5, 0.5)))
        torch.testing.assert_close(found.double(), operator @ torch.cat([queries, candidates]).double(), rtol=1e-5, atol=1e-5)
