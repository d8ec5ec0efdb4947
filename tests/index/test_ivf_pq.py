"""IVF-PQ: what its options change, that it is the same again, and that it can be written and read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from twotower.errors import CorruptBundleError
from twotower.index import ExactIndex, IVFPQIndex, VectorIndex
from twotower.types import Ragged


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recall(index: VectorIndex, vectors_ND: torch.Tensor, queries_BD: torch.Tensor, k: int, **chosen: Any) -> float:
    best_BK = ExactIndex.build(vectors_ND).search(queries_BD, k, **chosen).rows_BK
    rows_BK = index.search(queries_BD, k, **chosen).rows_BK
    found = [len(set(best) & set(rows)) for best, rows in zip(best_BK.tolist(), rows_BK.tolist(), strict=True)]
    return sum(found) / best_BK.numel()


VECTORS, QUERIES = normal(0, 6000, 11), normal(1, 50, 11)


@pytest.fixture(scope="module")
def index() -> IVFPQIndex:
    return IVFPQIndex.build(VECTORS, num_lists=100, num_probes=50, shortlist=100)


def test_more_probes_and_a_longer_shortlist_miss_less(index: IVFPQIndex) -> None:
    probes = [recall(index.with_search(num_probes=each, shortlist=100), VECTORS, QUERIES, 10) for each in (1, 20, 100)]
    lists = [recall(index.with_search(num_probes=100, shortlist=each), VECTORS, QUERIES, 10) for each in (10, 30, 300)]
    assert probes[0] < probes[1] < probes[2]
    assert lists[0] < lists[1] < lists[2]
    assert lists[2] > 0.97


def test_codes_of_fewer_entries_miss_less(index: IVFPQIndex) -> None:
    chosen = {"num_lists": 100, "num_probes": 100, "shortlist": 20}
    found = [recall(IVFPQIndex.build(VECTORS, entries_per_code=each, **chosen), VECTORS, QUERIES, 10) for each in (1, 2, 11)]
    assert found[0] > found[1] > found[2]


def test_more_lists_than_a_search_reads_miss_more(index: IVFPQIndex) -> None:
    fewer = IVFPQIndex.build(VECTORS, num_lists=20, num_probes=10, shortlist=100)
    assert (fewer.num_lists, index.num_lists) == (20, 100)
    more = index.with_search(num_probes=10, shortlist=100)
    assert recall(fewer, VECTORS, QUERIES, 10) > recall(more, VECTORS, QUERIES, 10)


def test_vectors_with_much_in_common_are_found(index: IVFPQIndex) -> None:
    other = IVFPQIndex.build(VECTORS + 10, num_lists=100, num_probes=50, shortlist=100)
    assert recall(other, VECTORS + 10, QUERIES, 10) > recall(index, VECTORS, QUERIES, 10) - 0.02


def test_scores_and_order_are_those_of_exact_search(index: IVFPQIndex) -> None:
    found, expected = index.with_search(num_probes=100, shortlist=2000).search(QUERIES, 20), index.exact.search(QUERIES, 20)
    assert torch.equal(found.rows_BK, expected.rows_BK)
    assert torch.equal(found.scores_BK, expected.scores_BK)


def test_the_same_again_whatever_the_threads_and_another_with_another_seed(index: IVFPQIndex) -> None:
    own = index.state().tensors["lists"]
    for threads in (1, 2):
        again = IVFPQIndex.build(VECTORS, num_lists=100, num_probes=50, shortlist=100, num_threads=threads)
        assert torch.equal(again.state().tensors["lists"], own)
    assert not torch.equal(IVFPQIndex.build(VECTORS, num_lists=100, seed=1).state().tensors["lists"], own)


@pytest.mark.parametrize("fraction", [0.9, 0.5, 0.35, 0.1, 0.01])
def test_filtered_searches_miss_no_more(index: IVFPQIndex, fraction: float) -> None:
    allowed = torch.rand(6000, generator=torch.Generator().manual_seed(0)) < fraction
    plain = recall(index, VECTORS, QUERIES, 10)
    assert recall(index, VECTORS, QUERIES, 10, allowed=allowed) >= plain - 0.03


def test_what_is_excluded_is_made_up_for(index: IVFPQIndex) -> None:
    best_BK = index.exact.search(QUERIES, 90).rows_BK
    excluded = Ragged(best_BK.flatten(), torch.arange(51) * 90)
    found = index.with_search(num_probes=100, shortlist=60).search(QUERIES, 10, excluded=excluded)
    assert torch.equal(found.rows_BK.sort(dim=1).values, found.rows_BK.sort(dim=1).values.clamp(min=0))
    assert recall(index, VECTORS, QUERIES, 10, excluded=excluded) > 0.7


def test_it_is_read_as_it_was_written(index: IVFPQIndex) -> None:
    tensors, config = index.state()
    again = IVFPQIndex.from_state(VECTORS, tensors, config)
    assert (again.num_probes, again.shortlist, again.num_lists) == (50, 100, 100)
    assert again.state().config == config
    expected, found = index.search(QUERIES, 10), again.search(QUERIES, 10)
    assert torch.equal(found.rows_BK, expected.rows_BK)
    assert torch.equal(found.scores_BK, expected.scores_BK)


@pytest.mark.parametrize("count", [0, 1, 1023])
def test_too_few_to_learn_from_are_searched_exactly(count: int) -> None:
    index = IVFPQIndex.build(VECTORS[:count])
    again = IVFPQIndex.from_state(VECTORS[:count], *index.state())
    assert again.num_lists == 1
    assert torch.equal(again.search(QUERIES, 3).rows_BK, ExactIndex.build(VECTORS[:count]).search(QUERIES, 3).rows_BK)


def test_other_vectors_and_damage_are_refused(index: IVFPQIndex) -> None:
    tensors, config = index.state()
    with pytest.raises(CorruptBundleError, match="belongs to other vectors"):
        IVFPQIndex.from_state(VECTORS + 1, tensors, config)
    with pytest.raises(CorruptBundleError, match="shortlist of the index must be an integer"):
        IVFPQIndex.from_state(VECTORS, tensors, {**config, "shortlist": 0})
    with pytest.raises(CorruptBundleError, match=r"lists must hold \(vectors, width, codes, bits, metric\)"):
        IVFPQIndex.from_state(VECTORS, tensors, {**config, "entries_per_code": 3})


def test_settings_to_try_read_no_more_lists_than_there_are(index: IVFPQIndex) -> None:
    tried = index.search_settings(10)
    assert max(setting["num_probes"] for setting in tried) == 100
    assert {setting["shortlist"] for setting in tried} == {40, 100}
    assert len({tuple(setting.items()) for setting in tried}) == len(tried)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_lists": 0}, r"num_lists must be an integer of at least 1 \(came: 0\)"),
        ({"num_lists": 154}, r"num_lists must be at most 153, a 39th of 6000 vectors \(came: 154\)"),
        ({"entries_per_code": 0}, "entries_per_code must be an integer of at least 1"),
        ({"num_probes": 0}, "num_probes must be an integer of at least 1"),
        ({"shortlist": True}, "shortlist must be an integer of at least 1"),
        ({"num_threads": 0}, "num_threads must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
)
def test_what_options_may_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IVFPQIndex.build(VECTORS, **options)


def test_settings_are_positive(index: IVFPQIndex) -> None:
    for setting in ({"num_probes": 0, "shortlist": 1}, {"num_probes": 1, "shortlist": 0}):
        with pytest.raises(ValueError, match="must be an integer of at least 1"):
            index.with_search(**setting)
