"""The walk in C: a beam as wide as the graph finds all that can be reached, in the order of a slow oracle's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from twotower.index.centring import Centring
from twotower.index.graph_search import FaissGraphSearch, NativeGraphSearch, graph_search, in_large_pages
from twotower.index.hnsw_graph import Graph, build_graph

if not NativeGraphSearch.can_search(10):
    pytest.skip("there is no C compiler", allow_module_level=True)


def made(num_rows: int, dim: int, mean: float = 0.0) -> tuple[Graph, torch.Tensor, Centring]:
    vectors_ND = torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(dim)) + mean
    centring = Centring.of(vectors_ND)
    graph = build_graph(centring.apply(vectors_ND), neighbours=6, ef_construction=30, seed=0, num_threads=1)
    return graph, vectors_ND, centring


def oracle(graph: Graph, scores_N: Any, beam: int) -> list[int]:
    """The same walk with exact scores, in a few lines."""
    row = graph.entry
    starts = graph.upper_from
    for level in reversed(range(int(graph.levels_N[row]) - 1)):
        while True:
            links = [each for each in graph.upper_links_UM[starts[row] + level].tolist() if each >= 0]
            best = max(links, key=lambda each: scores_N[each], default=row)
            if scores_N[best] <= scores_N[row]:
                break
            row = best
    kept, seen, looked = [row], {row}, set()
    while rest := [each for each in kept if each not in looked]:
        looked.add(rest[0])
        fresh = [each for each in graph.links_NL[rest[0]].tolist() if each >= 0 and each not in seen]
        seen |= set(fresh)
        kept = sorted([*kept, *fresh], key=lambda each: -scores_N[each])[:beam]
    return kept


@pytest.mark.parametrize("dim", [1, 3, 64, 65, 130])
@pytest.mark.parametrize("beam", [1, 10, 100])
def test_the_walk_of_the_oracle(dim: int, beam: int) -> None:
    graph, vectors_ND, centring = made(1500, dim)
    queries_BD = torch.randn(20, dim, generator=torch.Generator().manual_seed(1))
    rows_BE = NativeGraphSearch(graph, vectors_ND, centring).shortlist(queries_BD, beam, beam)
    scores_BN = (queries_BD.double() @ torch.from_numpy(centring.apply(vectors_ND)).double().T).numpy()
    agreed = []
    for rows, scores_N in zip(rows_BE.tolist(), scores_BN, strict=True):
        real = [row for row in rows if row >= 0]
        assert len(set(real)) == len(real)
        expected = oracle(graph, scores_N, beam)
        agreed.append(len(set(real) & set(expected)) / len(expected))
    # estimates in 8 bits order near scores otherwise, so that a beam of one may end elsewhere
    assert np.mean(agreed) > (0.5 if beam == 1 else 0.9)


def test_a_row_that_is_met_again_after_it_was_forgotten_is_there_once() -> None:
    # a beam of 300 has 4,096 places to know rows by, where two of these each fall
    graph, vectors_ND, centring = made(8000, 8)
    rows_BE = NativeGraphSearch(graph, vectors_ND, centring).shortlist(torch.randn(20, 8), 300, 8000)
    for rows in rows_BE.tolist():
        met = [row for row in rows if row >= 0]
        assert 500 < len(set(met)) == len(met)


def test_a_beam_as_wide_as_the_graph_finds_all_that_can_be_reached() -> None:
    graph, vectors_ND, centring = made(700, 8)
    rows = NativeGraphSearch(graph, vectors_ND, centring).shortlist(torch.randn(3, 8), 700, 700)
    reached, todo = {graph.entry}, [graph.entry]
    while todo:
        fresh = set(graph.links_NL[todo.pop()].tolist()) - reached - {-1}
        reached |= fresh
        todo += fresh
    for each in rows.tolist():
        assert sorted(row for row in each if row >= 0) == sorted(reached)
        assert each[len(reached) :] == [-1] * (700 - len(reached))


def test_more_than_the_beam_is_kept_of_what_was_met() -> None:
    graph, vectors_ND, centring = made(3000, 12)
    search = NativeGraphSearch(graph, vectors_ND, centring)
    queries_BD = torch.randn(20, 12, generator=torch.Generator().manual_seed(2))
    narrow, more, wide = (search.shortlist(queries_BD, *each) for each in ((20, 20), (20, 60), (60, 60)))
    assert torch.equal(more[:, :20], narrow)
    best_BK = torch.topk(queries_BD @ vectors_ND.T, 40).indices
    few, many = (
        [len(set(one) & set(all_)) for one, all_ in zip(rows.tolist(), best_BK.tolist(), strict=True)] for rows in (more, wide)
    )
    assert sum(narrow.shape) * 10 < sum(few) < sum(many)


def test_a_query_alone_walks_as_in_a_batch() -> None:
    graph, vectors_ND, centring = made(3000, 20, mean=5.0)
    search = NativeGraphSearch(graph, vectors_ND, centring)
    queries_BD = torch.randn(37, 20, generator=torch.Generator().manual_seed(2))
    together = search.shortlist(queries_BD, 50, 60)
    for number in range(37):
        assert torch.equal(search.shortlist(queries_BD[number : number + 1], 50, 60)[0], together[number])


def test_estimates_are_good_for_short_and_long_vectors() -> None:
    # steps have sizes of their own: with one for all, short vectors would be nothing
    vectors_ND = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)) * 10 ** torch.linspace(
        -6, 0, 2000
    ).unsqueeze(1)
    centring = Centring(torch.zeros(16, dtype=torch.float64), float(vectors_ND.norm(dim=1).max()))
    links = torch.arange(2000, dtype=torch.int32).add(1).remainder(2000).unsqueeze(1).repeat(1, 2)
    links[:, 1] = -1
    graph = Graph(links, torch.ones(2000, dtype=torch.uint8), torch.empty(0, 1, dtype=torch.int32), 0)
    query = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    rows = NativeGraphSearch(graph, vectors_ND, centring).shortlist(query, 2000, 2000)[0].numpy()
    scores_N = (vectors_ND.double() @ query[0].double()).numpy()
    # among the 500 shortest, none of which is a ten thousandth of the longest, too
    for these in (rows[rows < 500], rows):
        assert np.corrcoef(np.argsort(np.argsort(-scores_N[these])), np.arange(len(these)))[0, 1] > 0.99


def test_huge_and_zero_queries_and_vectors() -> None:
    graph, vectors_ND, centring = made(500, 4)
    queries_BD = torch.tensor([[3e38, 0.0, -3e38, 1.0], [0.0] * 4, [1e-38, 0.0, 0.0, 0.0]])
    for search in (NativeGraphSearch(graph, vectors_ND, centring), FaissGraphSearch(graph, vectors_ND, centring)):
        rows_BE = search.shortlist(queries_BD, 5, 5)
        assert rows_BE.shape == (3, 5)
        assert rows_BE.min() >= 0
    huge_ND = vectors_ND * (1e38 / float(vectors_ND.abs().max()))
    scaled = NativeGraphSearch(graph, huge_ND, Centring.of(huge_ND)).shortlist(queries_BD[:1], 5, 5)
    assert torch.equal(scaled, NativeGraphSearch(graph, vectors_ND, centring).shortlist(queries_BD[:1], 5, 5))


def test_no_queries() -> None:
    assert graph_search(*made(100, 4)).shortlist(torch.empty(0, 4), 3, 3).shape == (0, 3)


def test_a_copy_in_large_pages_begins_a_line() -> None:
    given = np.arange(1000, dtype=np.int32).reshape(10, 100)
    own = in_large_pages(given)
    assert own.ctypes.data % 64 == 0
    assert np.array_equal(own, given)
    given[0, 0] = 7
    assert own[0, 0] == 0
