"""The kernel's layer against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twotower.native import native_status
from twotower.nn.interaction_graph import InteractionGraph, Neighbours
from twotower.nn.native_propagation import can_propagate, native_layer

pytestmark = pytest.mark.skipif(not native_status("propagate").available, reason="there is no C compiler")


def graph(seed: int = 0) -> InteractionGraph:
    queries, candidates = np.random.default_rng(seed).integers(0, (150, 200), (1500, 2)).T
    made = InteractionGraph.from_pairs(queries, candidates, num_queries=150, num_candidates=200)
    return made.to(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dim", [1, 15, 16, 31, 48, 64, 100, 208])
def test_a_layer_is_that_of_the_definition(dim: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.nn.native_propagation._LEAST_NUMBERS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    made, generator = graph(), torch.Generator().manual_seed(dim)
    own, source = torch.randn(150, dim, generator=generator), torch.randn(200, dim, generator=generator)
    found = native_layer(made.queries, made.candidates, source, 0.7, own, -0.3)
    offsets = made.queries.offsets.tolist()
    for row in (0, 1, 77, 149):
        neighbours = made.queries.rows[offsets[row] : offsets[row + 1]].long()
        summed = (made.candidates.scale[neighbours].double()[:, None] * source[neighbours].double()).sum(0)
        expected = 0.7 * float(made.queries.scale[row]) * summed - 0.3 * own[row].double()
        torch.testing.assert_close(found[row].double(), expected, rtol=1e-5, atol=1e-5)


def test_the_same_bits_however_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.nn.native_propagation._LEAST_NUMBERS", 0)
    made, generator = graph(), torch.Generator().manual_seed(0)
    own, source = torch.randn(150, 40, generator=generator), torch.randn(200, 40, generator=generator)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(native_layer(made.queries, made.candidates, source, 1.0, own, 0.5))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_table_that_is_a_view_of_another() -> None:
    made, generator = graph(), torch.Generator().manual_seed(0)
    own, source = torch.randn(8, 150, generator=generator).T, torch.randn(200, 16, generator=generator)[:, ::2]
    found = native_layer(made.queries, made.candidates, source, 1.0, own, 0.5)
    assert torch.equal(found, native_layer(made.queries, made.candidates, source.contiguous(), 1.0, own.contiguous(), 0.5))


@pytest.mark.parametrize(
    ("rows", "offsets"), [([0, -1], [0, 2]), ([0, 200], [0, 2]), ([0, 1], [0, 3]), ([0, 1], [1, 2]), ([0, 1], [0, 3, 2])]
)
def test_a_neighbour_that_is_no_row(rows: list[int], offsets: list[int]) -> None:
    size = len(offsets) - 1
    own = Neighbours(torch.tensor(rows, dtype=torch.int32), torch.tensor(offsets), torch.ones(size))
    with pytest.raises(IndexError, match="neighbours must be rows of a table of 200, end to end; came"):
        native_layer(own, graph().candidates, torch.zeros(200, 4), 1.0, torch.zeros(size, 4), 0.0)


def test_what_the_kernel_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.zeros(3, 2)
    assert can_propagate(table, table)
    assert not can_propagate(table, table.double())
    assert not can_propagate(table.half())
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")
    assert not can_propagate(table, table)


@pytest.mark.parametrize(
    ("own", "source"), [((149, 4), (200, 4)), ((151, 4), (200, 4)), ((150, 4), (201, 4)), ((150, 4), (200, 5))]
)
def test_tables_of_another_graph(own: tuple[int, int], source: tuple[int, int]) -> None:
    made = graph()
    with pytest.raises(ValueError, match=r"do not fit \(150, 150, 200\) rows of the graph"):
        native_layer(made.queries, made.candidates, torch.zeros(source), 1.0, torch.zeros(own), 0.0)
