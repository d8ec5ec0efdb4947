"""HNSW: what its options change, that it is the same again, and that it can be written and read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from twotower.errors import CorruptBundleError, IncompatibleBundleError
from twotower.index import ExactIndex, HNSWIndex, VectorIndex, graph_search
from twotower.types import Ragged


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recall(index: VectorIndex, vectors_ND: torch.Tensor, queries_BD: torch.Tensor, k: int, **chosen: Any) -> float:
    best_BK = ExactIndex.build(vectors_ND).search(queries_BD, k, **chosen).rows_BK
    rows_BK = index.search(queries_BD, k, **chosen).rows_BK
    found = [len(set(best) & set(rows)) for best, rows in zip(best_BK.tolist(), rows_BK.tolist(), strict=True)]
    return sum(found) / best_BK.numel()


VECTORS, QUERIES = normal(0, 6000, 16), normal(1, 50, 16)


@pytest.fixture(scope="module")
def index() -> HNSWIndex:
    return HNSWIndex.build(VECTORS, neighbours=8, ef_construction=40, ef_search=60)


def test_a_wider_beam_misses_less(index: HNSWIndex) -> None:
    found = [recall(index.with_search(ef_search=ef), VECTORS, QUERIES, 10) for ef in (1, 30, 400)]
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.98


def test_more_neighbours_and_a_wider_beam_while_building_miss_less(index: HNSWIndex) -> None:
    base = recall(index, VECTORS, QUERIES, 10)
    more = HNSWIndex.build(VECTORS, neighbours=24, ef_construction=40, ef_search=60)
    wider = HNSWIndex.build(VECTORS, neighbours=8, ef_construction=300, ef_search=60)
    assert recall(more, VECTORS, QUERIES, 10) > base
    assert recall(wider, VECTORS, QUERIES, 10) > base


def test_vectors_with_much_in_common_are_found() -> None:
    # what trained towers give: all vectors within a tenth of their common mean
    assert recall(HNSWIndex.build(VECTORS + 10, neighbours=8, ef_search=100), VECTORS + 10, QUERIES, 10) > 0.95


def test_the_longest_vectors_are_found_where_norms_vary() -> None:
    vectors_ND = VECTORS * torch.exp(0.6 * normal(2, 6000, 1))
    assert recall(HNSWIndex.build(vectors_ND, ef_search=200), vectors_ND, QUERIES, 10) > 0.95


def test_scores_and_order_are_those_of_exact_search(index: HNSWIndex) -> None:
    found = index.with_search(ef_search=600).search(QUERIES, 20)
    expected = index.exact.search(QUERIES, 20)
    both = (found.rows_BK == expected.rows_BK).all(dim=1)
    assert both.sum() > 40
    assert torch.equal(found.scores_BK[both], expected.scores_BK[both])


def test_one_thread_and_a_seed_give_one_graph(index: HNSWIndex) -> None:
    again = HNSWIndex.build(VECTORS, neighbours=8, ef_construction=40, ef_search=60)
    other = HNSWIndex.build(VECTORS, neighbours=8, ef_construction=40, ef_search=60, seed=1)
    own, same, different = (each.state().tensors for each in (index, again, other))
    assert all(torch.equal(own[name], same[name]) for name in own)
    assert not torch.equal(own["levels"], different["levels"])


def test_more_threads_build_as_good_a_graph(index: HNSWIndex) -> None:
    other = HNSWIndex.build(VECTORS, neighbours=8, ef_construction=40, ef_search=60, num_threads=2)
    assert abs(recall(other, VECTORS, QUERIES, 10) - recall(index, VECTORS, QUERIES, 10)) < 0.05


@pytest.mark.parametrize("fraction", [0.9, 0.5, 0.35, 0.1, 0.01])
def test_filtered_searches_miss_little(index: HNSWIndex, fraction: float) -> None:
    allowed = torch.rand(6000, generator=torch.Generator().manual_seed(0)) < fraction
    plain = recall(index, VECTORS, QUERIES, 10)
    assert recall(index, VECTORS, QUERIES, 10, allowed=allowed) >= min(plain, 0.97) - 0.03
    assert index.search(QUERIES, 10, allowed=allowed).rows_BK.min() >= 0


def test_few_allowed_are_searched_exactly(index: HNSWIndex) -> None:
    allowed = torch.rand(6000, generator=torch.Generator().manual_seed(0)) < 0.05
    for queries_BD in (QUERIES, QUERIES[:1]):
        found = index.with_search(ef_search=1).search(queries_BD, 10, allowed=allowed)
        assert torch.equal(found.rows_BK, index.exact.search(queries_BD, 10, allowed=allowed).rows_BK)


def test_what_is_excluded_is_made_up_for(index: HNSWIndex) -> None:
    best_BK = index.exact.search(QUERIES, 200).rows_BK
    lengths = [0, 200, 13, 1] * 13
    lists = [best_BK[number, : lengths[number]] for number in range(50)]
    excluded = Ragged(torch.cat(lists), torch.tensor(np.cumsum([0, *(len(each) for each in lists)])))
    assert recall(index, VECTORS, QUERIES, 10, excluded=excluded) > recall(index, VECTORS, QUERIES, 10) - 0.05


def test_it_is_read_as_it_was_written(index: HNSWIndex) -> None:
    tensors, config = index.state()
    again = HNSWIndex.from_state(VECTORS, tensors, config)
    assert again.ef_search == 60
    assert again.state().config == config
    expected = index.search(QUERIES, 10)
    for other in (again, HNSWIndex.from_state(index.exact, tensors, config)):
        found = other.search(QUERIES, 10)
        assert torch.equal(found.rows_BK, expected.rows_BK)
        assert torch.equal(found.scores_BK, expected.scores_BK)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_small_ones_too(count: int) -> None:
    index = HNSWIndex.build(VECTORS[:count])
    again = HNSWIndex.from_state(VECTORS[:count], *index.state())
    assert torch.equal(again.search(QUERIES, 3).rows_BK, ExactIndex.build(VECTORS[:count]).search(QUERIES, 3).rows_BK)


def test_other_vectors_and_damage_are_refused(index: HNSWIndex) -> None:
    tensors, config = index.state()
    with pytest.raises(CorruptBundleError, match="belongs to other vectors"):
        HNSWIndex.from_state(VECTORS + 1, tensors, config)
    with pytest.raises(CorruptBundleError, match="kind of the index must be 'hnsw'"):
        HNSWIndex.from_state(VECTORS, tensors, {**config, "kind": "other"})
    with pytest.raises(CorruptBundleError, match="ef_search of the index"):
        HNSWIndex.from_state(VECTORS, tensors, {name: value for name, value in config.items() if name != "ef_search"})
    with pytest.raises(CorruptBundleError, match="links of a graph must be"):
        HNSWIndex.from_state(VECTORS, {**tensors, "links": tensors["links"][:-1]}, config)
    with pytest.raises(CorruptBundleError, match="centre of the index"):
        HNSWIndex.from_state(VECTORS, {name: value for name, value in tensors.items() if name != "centre"}, config)
    with pytest.raises(IncompatibleBundleError, match="update twotower"):
        HNSWIndex.from_state(VECTORS, tensors, {**config, "format": 99})


def test_without_a_compiler_faiss_searches(index: HNSWIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_search, "_library", lambda: None)
    other = HNSWIndex.from_state(VECTORS, *index.state())
    assert abs(recall(other, VECTORS, QUERIES, 10) - recall(index, VECTORS, QUERIES, 10)) < 0.1
    assert recall(other.with_search(ef_search=600), VECTORS, QUERIES, 10) > 0.98


def test_an_exact_index_is_shared() -> None:
    exact = ExactIndex.build(VECTORS[:100])
    assert HNSWIndex.build(exact).exact is exact


def test_settings_to_try_rise_from_k() -> None:
    beams = [setting["ef_search"] for setting in HNSWIndex.build(VECTORS[:10]).search_settings(20)]
    assert beams[0] == 10
    assert beams == sorted(set(beams))
    assert beams[-1] >= 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 1}, r"neighbours must be an integer of at least 2 \(came: 1\)"),
        ({"ef_construction": 0}, r"ef_construction must be an integer of at least 1 \(came: 0\)"),
        ({"ef_search": 1.5}, r"ef_search must be an integer of at least 1 \(came: 1.5\)"),
        ({"num_threads": 0}, r"num_threads must be an integer of at least 1 \(came: 0\)"),
        ({"seed": -1}, r"seed must be an integer of at least 0 \(came: -1\)"),
    ],
)
def test_what_options_may_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HNSWIndex.build(VECTORS[:10], **options)


def test_a_beam_is_positive(index: HNSWIndex) -> None:
    with pytest.raises(ValueError, match="ef_search must be an integer of at least 1"):
        index.with_search(ef_search=0)
