"""An index over ranks is the index over all of its vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.distributed.in_ranks import in_ranks
from torch import Tensor

from twotower.distributed import ALONE, Ranks, share_of
from twotower.errors import DataError
from twotower.evaluation import ShardedIndex
from twotower.index import ExactIndex, HNSWIndex, SearchResult, VectorIndex, VectorIndexContract
from twotower.types import Ragged


class _Contract(VectorIndexContract):
    """Every rank goes through the suite, each with its share of the vectors."""

    def __init__(self, ranks: Ranks, *, exact: bool) -> None:
        self.ranks = ranks
        type(self).exact = exact

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        share = self.ranks.share(len(vectors_ND))
        part = vectors_ND[share.start : share.stop]
        return (
            ShardedIndex.build(part, self.ranks) if self.exact else ShardedIndex.build(part, self.ranks, build=HNSWIndex.build)
        )


def _suite(ranks: Ranks, exact: bool) -> list[str]:
    torch.set_num_threads(1)
    contract = _Contract(ranks, exact=exact)
    done = []
    for name in sorted(each for each in dir(contract) if each.startswith("test_")):
        if name != "test_the_same_question_has_the_same_answer" or ranks.size == 2:  # which asks many times
            getattr(contract, name)()
            done.append(name)
    return done


@pytest.mark.parametrize(("size", "exact"), [(2, True), (3, True), (2, False)])
def test_the_contract_of_an_index(size: int, exact: bool) -> None:
    found = in_ranks(_suite, size, exact, timeout_s=400)
    assert all(len(done) >= 21 for done in found)


class TestShardedIndexAlone(VectorIndexContract):
    exact = True

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return ShardedIndex.build(vectors_ND, ALONE)


def ragged(lists: list[list[int]]) -> Ragged:
    offsets = torch.tensor(np.cumsum([0, *(len(each) for each in lists)]))
    return Ragged(torch.tensor([row for each in lists for row in each], dtype=torch.int64), offsets)


def _world(seed: int) -> dict[str, Any]:
    """Free vectors of which many are there twice, and lists of rows from all over."""
    generator = np.random.default_rng(seed)
    num, dim = [(1700, 16), (40, 3), (2, 3), (0, 3), (5, 2)][seed]
    vectors_ND = torch.from_numpy(generator.standard_normal((num, dim)).astype(np.float32))
    if num:
        vectors_ND = vectors_ND[torch.from_numpy(generator.integers(0, max(1, num // 2), num))]
    queries_BD = torch.from_numpy(generator.standard_normal(([7, 2, 1, 3, 0][seed], dim)).astype(np.float32))
    exact_BN = queries_BD.double() @ vectors_ND.double().T
    best = exact_BN.topk(min(9, num), dim=1).indices.tolist() if num else [[] for _ in queries_BD]
    excluded = ragged([rows[::2] + rows[:1] for rows in best])
    return {
        "vectors": vectors_ND,
        "queries": queries_BD,
        "excluded": excluded,
        "allowed": torch.from_numpy(generator.random(num) < 0.6),
        # of another length on every rank, none on the first of three
        "edges": {
            1: [0, num],
            2: [0, num // 5, num],
            3: [0, 0, num // 3, num],
            4: [0, num // 9, num // 9, num - num // 4, num],
        },
    }


def _answers(index: VectorIndex, world: dict[str, Any]) -> list[SearchResult]:
    found = []
    for k in (1, 3, 25, 2000):
        found.append(index.search(world["queries"], k))
        found.append(index.search(world["queries"], k, excluded=world["excluded"]))
        found.append(index.search(world["queries"], k, excluded=world["excluded"], allowed=world["allowed"]))
    return found


def _same_as_one(ranks: Ranks) -> int:
    compared = 0
    for seed in range(5):
        world = _world(seed)
        expected = _answers(ExactIndex.build(world["vectors"]), world)
        share = share_of(len(world["vectors"]), ranks.rank, ranks.size)
        edges = world["edges"][ranks.size]
        for start, stop in ((share.start, share.stop), (edges[ranks.rank], edges[ranks.rank + 1])):
            index = ShardedIndex.build(world["vectors"][start:stop], ranks)
            assert index.num_vectors == len(world["vectors"])
            assert index.own == range(start, stop)
            assert index.part.num_vectors == stop - start  # and no more is held
            for found, wanted in zip(_answers(index, world), expected, strict=True):
                assert torch.equal(found.rows_BK, wanted.rows_BK)
                assert torch.equal(found.scores_BK, wanted.scores_BK)
                compared += 1
    ties = expected_ties(_world(0))
    assert ties > 20, "twins stand in different ranges"
    return compared


def expected_ties(world: dict[str, Any]) -> int:
    scores_BK = ExactIndex.build(world["vectors"]).search(world["queries"], 25).scores_BK
    return int((scores_BK[:, 1:] == scores_BK[:, :-1]).sum())


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_as_one_index_over_all(size: int) -> None:
    assert in_ranks(_same_as_one, size) == [120] * size


def _faults(ranks: Ranks) -> list[str]:
    last, found = ranks.rank == ranks.size - 1, []

    def tried(work: Any) -> None:
        try:
            work()
            found.append("")
        except (ValueError, DataError) as error:
            found.append(f"{type(error).__name__}: {error}")

    nan, inf = float("nan"), float("inf")
    tried(lambda: ShardedIndex.build(torch.tensor([[1.0], [nan if last else 2.0], [inf if last else 3.0]]), ranks))
    tried(lambda: ShardedIndex.build(torch.zeros(2, 3 if last else 2), ranks))
    tried(lambda: ShardedIndex.build(torch.zeros(2, 2) if last else torch.zeros(2, 2, dtype=torch.int64), ranks))
    tried(lambda: ShardedIndex.build(torch.zeros(2, 2, 2) if last else torch.zeros(2), ranks))
    index = ShardedIndex.build(torch.full((2, 2), 1e19 if last else 1.0), ranks)
    tried(lambda: index.search(torch.full((1, 2), 1e20), 1))  # too long for the vectors of the last rank alone
    tried(lambda: index.search(torch.ones(1, 2), 2 if last else 1))
    tried(lambda: index.search(torch.ones(1, 2) * (2 if last else 1), 1))
    mask = torch.tensor([True, True, True, not last])
    tried(lambda: index.search(torch.ones(1, 2), 1, allowed=mask))
    tried(lambda: index.search(torch.ones(1, 2), 1, excluded=ragged([[0 if last else 1]])))
    found.append(str(index.search(torch.ones(1, 2), 5).rows_BK.tolist()))  # and all go on together
    return found


def test_an_error_is_everybodys() -> None:
    first, second = in_ranks(_faults, 2)
    assert first == second
    other = "ValueError: what is searched for must be the same on all ranks; rank 1 has others than rank 0"
    assert first[0] == "DataError: vectors must be finite float32; 2 of 6 are not, the first at row 4, 5"
    assert first[1].startswith("ValueError: the width of the vectors must be the same on all ranks")
    assert first[2].startswith("ValueError: vectors must be floats")
    assert first[3].startswith("ValueError: vectors must have the shape [N, D]")
    assert first[4].startswith("DataError: scores must fit into float32; query 0 has the norm")
    assert first[5:9] == [other] * 4
    assert first[9] == "[[2, 3, 0, 1, -1]]"
