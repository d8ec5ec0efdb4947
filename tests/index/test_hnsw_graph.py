"""A graph as plain tensors: the way to FAISS and back, and every kind of damage."""

from __future__ import annotations

import pytest
import torch

from twotower.errors import CorruptBundleError
from twotower.index.faiss_library import faiss_library
from twotower.index.hnsw_graph import Graph, build_graph, faiss_graph, read_graph

VECTORS = torch.randn(900, 5, generator=torch.Generator().manual_seed(0)).numpy()


@pytest.fixture
def graph() -> Graph:
    return build_graph(VECTORS, neighbours=4, ef_construction=20, seed=3, num_threads=1)


def test_its_shapes(graph: Graph) -> None:
    assert (graph.num_rows, graph.neighbours) == (900, 4)
    assert graph.links_NL.shape == (900, 8)
    above = graph.levels_N.long() - 1
    assert graph.upper_links_UM.shape == (int(above.sum()), 4)
    assert graph.upper_from.tolist() == [int(above[:row].sum()) for row in range(900)]
    assert int(graph.levels_N.max()) > 1
    assert graph.levels_N[graph.entry] == graph.levels_N.max()


def test_links_are_those_of_faiss(graph: Graph) -> None:
    index = faiss_graph(graph, VECTORS)
    hnsw = index.hnsw
    links = faiss_library().vector_to_array(hnsw.neighbors)
    for row in (0, 5, graph.entry, 899):
        for level in range(int(graph.levels_N[row])):
            begin = hnsw.offsets.at(row) + hnsw.cum_nb_neighbors(level)
            theirs = links[begin : begin + hnsw.nb_neighbors(level)].tolist()
            above = graph.upper_from[row] + level - 1
            assert theirs == (graph.links_NL[row] if level == 0 else graph.upper_links_UM[above]).tolist()


def test_it_finds_as_the_index_that_it_came_from(graph: Graph) -> None:
    faiss = faiss_library()
    own = faiss_graph(graph, VECTORS).search(VECTORS[:50], 3)[1]
    best = (VECTORS[:50] @ VECTORS.T).argsort(axis=1)[:, ::-1][:, :3]
    assert (own == best).mean() > 0.8
    assert faiss.omp_get_max_threads() >= 1


def test_it_is_read_as_it_was_written(graph: Graph) -> None:
    again = read_graph(graph.tensors(), num_rows=900, neighbours=4)
    assert again.entry == graph.entry
    assert all(torch.equal(one, other) for one, other in zip(again[:3], graph[:3], strict=True))


@pytest.mark.parametrize("name", ["links", "levels", "upper_links", "entry"])
def test_no_part_may_be_missing_or_of_another_kind(graph: Graph, name: str) -> None:
    tensors = graph.tensors()
    with pytest.raises(CorruptBundleError, match=f"must have the tensor '{name}'"):
        read_graph({key: value for key, value in tensors.items() if key != name}, num_rows=900, neighbours=4)
    with pytest.raises(CorruptBundleError, match=f"{name} of a graph must be"):
        read_graph({**tensors, name: tensors[name].to(torch.int16)}, num_rows=900, neighbours=4)
    with pytest.raises(CorruptBundleError, match=" of a graph must be"):
        read_graph({**tensors, name: tensors[name][:-1]}, num_rows=900, neighbours=4)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("links", (3, 1), 900, "links rows -1 to 900"),
        ("links", (3, 1), -2, "links rows -2 to"),
        ("upper_links", (0, 0), 1_000_000, "links rows"),
        ("entry", (0,), 900, "begins at row 900"),
        ("entry", (0,), -1, "begins at row -1"),
    ],
)
def test_no_link_leads_outside(graph: Graph, name: str, place: tuple[int, ...], value: int, message: str) -> None:
    tensors = {key: tensor.clone() for key, tensor in graph.tensors().items()}
    tensors[name][place] = value
    with pytest.raises(CorruptBundleError, match=f"900 rows {message}.*it was damaged, or belongs to other vectors"):
        read_graph(tensors, num_rows=900, neighbours=4)


def test_no_link_leads_to_a_level_that_a_row_is_not_on(graph: Graph) -> None:
    tensors = {key: tensor.clone() for key, tensor in graph.tensors().items()}
    tensors["upper_links"][0, 0] = int(graph.levels_N.argmin())
    with pytest.raises(CorruptBundleError, match="links a row on a level that the row is not on"):
        read_graph(tensors, num_rows=900, neighbours=4)


def test_levels_are_positive_and_the_entry_is_on_the_highest(graph: Graph) -> None:
    low = int(graph.levels_N.argmin())
    with pytest.raises(CorruptBundleError, match="begins below its highest one"):
        read_graph({**graph.tensors(), "entry": torch.tensor([low])}, num_rows=900, neighbours=4)
    levels = graph.levels_N.clone()
    levels[low], levels[graph.entry] = 0, levels[graph.entry] + 1
    with pytest.raises(CorruptBundleError, match="has a row on no level"):
        read_graph({**graph.tensors(), "levels": levels}, num_rows=900, neighbours=4)


def test_renumbered_it_is_the_same_graph(graph: Graph) -> None:
    order_N = torch.randperm(900, generator=torch.Generator().manual_seed(5))
    other = graph.renumbered(order_N)
    assert int(order_N[other.entry]) == graph.entry

    def links(of: Graph, row: int, level: int) -> list[int]:
        own = of.links_NL[row] if level == 0 else of.upper_links_UM[of.upper_from[row] + level - 1]
        return [each for each in own.tolist() if each >= 0]

    for new, old in enumerate(order_N.tolist()):
        assert other.levels_N[new] == graph.levels_N[old]
        for level in range(int(graph.levels_N[old])):
            assert [int(order_N[each]) for each in links(other, new, level)] == links(graph, old, level)
    assert read_graph(other.tensors(), num_rows=900, neighbours=4).num_rows == 900


def test_rows_that_most_are_linked_to_come_first(graph: Graph) -> None:
    linked = [0] * 900
    for each in graph.links_NL.flatten().tolist():
        linked[each] += each >= 0
    order = graph.by_popularity().tolist()
    assert order == sorted(range(900), key=lambda row: (-linked[row], row))
