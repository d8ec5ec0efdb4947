"""Rankers that count give the ranks that their tiles give: models, popularity, and popularity within segments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.baselines import FitRows, PopularityScorer, SegmentPopularityScorer, fit_segment_popularity
from twotower.evaluation import CountingScorer, Scorer, rank_positives
from twotower.evaluation.counting import count_positives
from twotower.evaluation.product_counter import ProductCounter
from twotower.types import Ragged


@pytest.fixture(params=["kernel", "torch"], autouse=True)
def _with_and_without_the_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", "1" if request.param == "kernel" else "0")


class Products:
    """Dot products of given vectors, by tiles and by counting."""

    def __init__(self, queries_QD: Tensor, items_ND: Tensor) -> None:
        self.queries_QD, self.items_ND = queries_QD, items_ND

    @property
    def num_items(self) -> int:
        return len(self.items_ND)

    def counter(self, rows: Tensor) -> ProductCounter | None:
        return ProductCounter(self.queries_QD[rows], self.items_ND, float(self.items_ND.double().norm(dim=1).max()))

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, self.num_items, tile_size):
            yield start, (self.queries_QD[rows].double() @ self.items_ND[start : start + tile_size].double().T).float()


class TilesOnly:
    """A ranker that can't count."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @property
    def num_items(self) -> int:
        return self.scorer.num_items

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        return self.scorer.tiles(rows, tile_size)


def ragged(lists: list[list[int]]) -> Ragged:
    lengths = torch.tensor([0, *(len(values) for values in lists)])
    return Ragged(torch.tensor([value for values in lists for value in values], dtype=torch.int64), lengths.cumsum(0))


def assert_same_ranks(scorer: Scorer, num_queries: int, *, seed: int, several: bool = False) -> None:
    assert isinstance(scorer, CountingScorer)
    rng = np.random.default_rng(seed)
    size = scorer.num_items
    rows = torch.from_numpy(rng.permutation(num_queries))
    seen = ragged([sorted(rng.choice(size, rng.integers(0, min(size, 9)), replace=False).tolist()) for _ in range(num_queries)])
    most = min(size, 5) if several else 1
    positives = ragged(
        [
            rng.choice(np.arange(-1, size), rng.integers(0 if several else 1, most + 1), replace=False).tolist()
            for _ in range(num_queries)
        ]
    )
    counted = rank_positives(scorer, rows, positives, seen.take)
    scored = rank_positives(TilesOnly(scorer), rows, positives, seen.take)
    for variant in ("seen_included", "seen_removed"):
        found, expected = getattr(counted, variant), getattr(scored, variant)
        assert found.above.tolist() == expected.above.tolist()
        assert found.tied.tolist() == expected.tied.tolist()
    assert scored.seen_included.tied.max() >= 1


def vectors(kind: str, num: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(num, dim, generator=generator)
    return {
        "free": free,
        "twins": free[torch.randint(0, 5, (num,), generator=generator)],
        "collapsed": free[:1].expand(num, -1).clone(),
        "near": free[:1] + 1e-7 * free,
        "tiny": free * 1e-21,
        "zero": torch.zeros(num, dim),
        "one long": torch.cat([free[:-1], 1e4 * free[-1:]]),
    }[kind]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", ["free", "twins", "collapsed", "near", "tiny", "zero", "one long"])
def test_products_rank_as_their_tiles(kind: str, several: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.evaluation.product_counter._LEAST_PRODUCTS", 1)
    monkeypatch.setattr("twotower.evaluation.product_counter._ITEMS_AT_ONCE", 200)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for dim in (1, 3, 64):
        scorer = Products(vectors("free", 40, dim, 1), vectors(kind, 1300, dim, 2))
        assert_same_ranks(scorer, 40, seed=dim, several=several)


class Watched(ProductCounter):
    """Remembers how many pairs were asked for at a time."""

    def __init__(self, queries_BD: Tensor, items_ND: Tensor, longest: float) -> None:
        super().__init__(queries_BD, items_ND, longest)
        self.asked: list[int] = []

    def versus(self, queries: Tensor, items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(len(items))
        return super().versus(queries, items, scores)


@pytest.mark.parametrize("several", [False, True])
def test_seen_items_are_scored_a_part_at_a_time(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.evaluation.counting._SEEN_AT_ONCE", 10)
    assert_same_ranks(Products(vectors("free", 40, 3, 1), vectors("twins", 50, 3, 2)), 40, seed=5, several=several)
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")  # the kernel is not given pairs
    counter = Watched(vectors("free", 6, 3, 1), vectors("twins", 50, 3, 2), 10.0)
    seen = ragged([list(range(12)), [], list(range(4)), list(range(6)), list(range(6)), [3]])
    count_positives(counter, torch.arange(6), torch.full((6,), 49), seen)
    assert [asked for asked in counter.asked if asked] == [12, 10, 7]


@pytest.mark.parametrize("pair_in_products", [0, 10**9])
@pytest.mark.parametrize("sorted_queries", [False, True])
@pytest.mark.parametrize("kind", ["free", "twins", "collapsed", "near", "tiny", "zero", "one long"])
def test_pairs_against_scores(kind: str, sorted_queries: bool, pair_in_products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.evaluation.product_counter._PAIR_IN_PRODUCTS", pair_in_products)
    monkeypatch.setattr("twotower.evaluation.product_counter._PRODUCTS_AT_ONCE", 500)
    monkeypatch.setattr("twotower.evaluation.product_counter._PAIRS_AT_ONCE", 77)
    rng = np.random.default_rng(3)
    queries_QD, items_ND = vectors("free", 30, 4, 1), vectors(kind, 100, 4, 2)
    counter = ProductCounter(queries_QD, items_ND, float(items_ND.double().norm(dim=1).max()))
    queries = torch.from_numpy(rng.integers(0, 30, 1000))
    queries = queries.sort().values if sorted_queries else queries
    items, others = torch.from_numpy(rng.integers(0, 100, 1000)), torch.from_numpy(rng.integers(0, 100, 1000))
    scores = counter.pairs(queries, others)
    exact = (queries_QD[queries].double() * items_ND[items].double()).sum(dim=1).float()
    above, tied = counter.versus(queries, items, scores)
    assert above.tolist() == (exact > scores).tolist()
    assert tied.tolist() == (exact == scores).tolist()


def test_products_that_float32_can_not_tell_apart_are_summed_again() -> None:
    # two items, one a little ahead of the other: in float32 the sum in order loses it
    queries_QD = torch.ones(1, 3)
    items_ND = torch.tensor([[2.0**24, 1.0, -(2.0**24)], [2.0**24, -(2.0**24), 1.5], [2.0**24, 1.25, -(2.0**24)]])
    positives = Ragged(torch.tensor([2]), torch.tensor([0, 1]))
    found = rank_positives(Products(queries_QD, items_ND), torch.tensor([0]), positives, ragged([[]]).take)
    assert (found.seen_included.above.tolist(), found.seen_included.tied.tolist()) == ([1], [1])


def test_popularity_ranks_as_its_tiles() -> None:
    counts_N = torch.from_numpy(np.random.default_rng(0).integers(0, 12, 200))
    assert_same_ranks(PopularityScorer(counts_N), 60, seed=1)
    assert_same_ranks(PopularityScorer(counts_N), 60, seed=2, several=True)


@pytest.mark.parametrize("strength", [0.5, 100.0])
def test_segments_rank_as_their_tiles(strength: float) -> None:
    rng = np.random.default_rng(4)
    rows, items, segments = 400, 70, 6
    fit = FitRows(
        torch.from_numpy(rng.integers(0, 30, rows)),
        torch.from_numpy(rng.integers(0, items - 10, rows)),  # some items nobody had
        num_users=30,
        num_items=items,
    )
    # one segment is nobody's, and some rows have none
    state = fit_segment_popularity(fit, torch.from_numpy(rng.integers(-1, segments - 1, rows)), num_segments=segments)
    asked = torch.from_numpy(rng.integers(-1, segments, 80))
    assert_same_ranks(SegmentPopularityScorer(state, asked, strength=strength), 80, seed=5)
    assert_same_ranks(SegmentPopularityScorer(state, asked, strength=strength), 80, seed=6, several=True)
