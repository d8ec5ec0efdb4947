"""Pairs as a graph, held from both sides."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from twotower.nn import InteractionGraph


def graph_of(pairs: list[tuple[int, int]], num_queries: int, num_candidates: int) -> InteractionGraph:
    queries, candidates = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return InteractionGraph.from_pairs(queries, candidates, num_queries=num_queries, num_candidates=num_candidates)


def test_both_sides_hold_every_pair_once_in_order() -> None:
    graph = graph_of([(3, 1), (1, 4), (3, 1), (1, 2), (3, 4), (3, 1)], 5, 6)
    assert graph.num_edges == 4
    assert graph.queries.offsets.tolist() == [0, 0, 2, 2, 4, 4]
    assert graph.queries.rows.tolist() == [2, 4, 1, 4]
    assert graph.candidates.offsets.tolist() == [0, 0, 1, 2, 2, 4, 4]
    assert graph.candidates.rows.tolist() == [3, 1, 1, 3]
    assert graph.queries.rows.dtype == torch.int32


def test_scales_are_of_distinct_neighbours_and_0_without_any() -> None:
    graph = graph_of([(1, 1), (1, 2), (1, 2), (2, 2)], 4, 3)
    assert graph.queries.scale.tolist() == [0.0, 1 / math.sqrt(2), 1.0, 0.0]
    assert graph.candidates.scale.tolist() == [0.0, 1.0, 1 / math.sqrt(2)]
    assert graph.queries.scale.dtype == torch.float64
    assert graph.to(torch.device("cpu"), torch.float32).queries.scale.dtype == torch.float32


def test_the_order_of_pairs_says_nothing() -> None:
    pairs = [(3, 1), (1, 4), (1, 2), (3, 4), (2, 2)]
    one, other = graph_of(pairs, 5, 6), graph_of(pairs[::-1], 5, 6)
    for side, again in ((one.queries, other.queries), (one.candidates, other.candidates)):
        assert torch.equal(side.rows, again.rows)
        assert torch.equal(side.offsets, again.offsets)


def test_neighbours_ascend_on_both_sides() -> None:
    drawn = np.random.default_rng(0).integers(1, (30, 5), (20_000, 2))  # few candidates, of hundreds of queries each
    many = np.random.default_rng(1).integers(1, (90_000, 4), (60_000, 2))
    for pairs, size in ((drawn, (30, 5)), (many, (90_000, 4))):
        queries, candidates = pairs.T
        graph = InteractionGraph.from_pairs(queries, candidates, num_queries=size[0], num_candidates=size[1])
        assert graph.num_edges == len({*map(tuple, pairs.tolist())})
        for side in (graph.queries, graph.candidates):
            of_edge = torch.repeat_interleave(torch.arange(len(side)), side.offsets.diff())
            assert bool(((side.rows.diff() > 0) | (of_edge.diff() > 0)).all())


def test_what_is_unknown_has_no_edges() -> None:
    graph = graph_of([(0, 1), (1, 0), (0, 0), (1, 1)], 3, 3)
    assert graph.num_edges == 1
    assert graph.queries.offsets.tolist() == [0, 0, 1, 1]
    assert graph.candidates.offsets.tolist() == [0, 0, 1, 1]


def test_pairs_whose_numbers_need_more_than_32_bits() -> None:
    graph = graph_of([(99_999, 99_998), (99_998, 99_999)], 100_000, 100_000)
    assert graph.queries.rows.tolist() == [99_999, 99_998]


def test_no_pairs() -> None:
    graph = graph_of([], 2, 3)
    assert graph.num_edges == 0
    assert len(graph.candidates) == 3


@pytest.mark.parametrize(
    ("pair", "name"), [((5, 1), "query"), ((-1, 1), "query"), ((1, 6), "candidate"), ((1, -1), "candidate")]
)
def test_a_row_that_is_none(pair: tuple[int, int], name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} rows must be in \[0, {5 if name == 'query' else 6}\)"):
        graph_of([(1, 1), pair], 5, 6)


def test_as_many_queries_as_candidates() -> None:
    with pytest.raises(ValueError, match=r"as many queries as candidates; came \(2,\) and \(1,\)"):
        InteractionGraph.from_pairs(np.array([1, 2]), np.array([1]), num_queries=3, num_candidates=3)
