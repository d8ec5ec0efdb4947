"""Exact ranks against counting by hand, in one tile and in many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.evaluation import rank_positives
from twotower.types import Ragged


class TableScorer:
    """Scores from a table, and a record of what was asked."""

    def __init__(self, scores_QN: Tensor) -> None:
        self.scores_QN = scores_QN
        self.asked: list[tuple[int, int]] = []

    @property
    def num_items(self) -> int:
        return int(self.scores_QN.shape[1])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, self.num_items, tile_size):
            tile_BT = self.scores_QN[rows, start : start + tile_size]
            self.asked.append((tile_BT.shape[0], tile_BT.shape[1]))
            yield start, tile_BT


class ZeroScorer:
    """A large catalogue without a large table."""

    def __init__(self, num_items: int) -> None:
        self._num_items = num_items
        self.asked: list[tuple[int, int]] = []

    @property
    def num_items(self) -> int:
        return self._num_items

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, self._num_items, tile_size):
            width = min(tile_size, self._num_items - start)
            self.asked.append((len(rows), width))
            yield start, torch.zeros(1, 1).expand(len(rows), width)


def ragged(lists: list[list[int]]) -> Ragged:
    offsets = torch.zeros(len(lists) + 1, dtype=torch.int64)
    offsets[1:] = torch.tensor([len(entry) for entry in lists], dtype=torch.int64).cumsum(0)
    return Ragged(torch.tensor([value for entry in lists for value in entry], dtype=torch.int64), offsets)


def seen_of(lists: list[list[int]]) -> Callable[[Tensor], Ragged]:
    """What each row of the scorer's table has seen."""
    return lambda rows: ragged([lists[row] for row in rows.tolist()])


def counted(scores: list[float], positive: int, without: set[int]) -> tuple[int, int]:
    """Above and tied, one item after the other."""
    if positive < 0:
        return len(scores), 1
    above = tied = 0
    for item, score in enumerate(scores):
        if item in without:
            continue
        above += score > scores[positive]
        tied += score == scores[positive]
    return above, tied


BLOCKS = [1, 8 * 3, 8 * 7, 8 * 40, 64 * 2**20]
"""Bytes for one score, 3, 7 and 40 scores, and more than all."""


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize("num_items", [1, 2, 13])
def test_ranks_equal_counting(num_items: int, block_bytes: int) -> None:
    rng = np.random.default_rng(num_items)
    scores = rng.integers(-2, 3, size=(9, num_items)).astype(np.float32)  # many ties
    rows = rng.permutation(9)[:7]  # queries in another order than the table's, and not all of it
    positives = [rng.permutation(num_items)[: rng.integers(0, 4)].tolist() for _ in rows]
    positives[3] += [-1]
    positives[5] += [-1, -1]
    seen = [rng.permutation(num_items)[: rng.integers(0, num_items + 1)].tolist() for _ in range(9)]
    seen[int(rows[0])] = []
    seen[int(rows[1])] = list(range(num_items))  # which holds all of its positives
    found = rank_positives(
        TableScorer(torch.from_numpy(scores)), torch.from_numpy(rows), ragged(positives), seen_of(seen), block_bytes=block_bytes
    )
    pairs = [(row, item) for row, entry in zip(rows.tolist(), positives, strict=True) for item in entry]
    for removed, ranks in ((False, found.seen_included), (True, found.seen_removed)):
        relevant = dict(zip(rows.tolist(), positives, strict=True))
        expected = [
            counted(scores[row].tolist(), item, set(seen[row]) - set(relevant[row]) if removed else set())
            for row, item in pairs
        ]
        assert list(zip(ranks.above.tolist(), ranks.tied.tolist(), strict=True)) == expected


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_one_positive_each(block_bytes: int) -> None:
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 3, size=(6, 11)).astype(np.float64)
    positives = rng.integers(-1, 11, size=6).tolist()
    seen = [rng.permutation(11)[:4].tolist() for _ in range(6)]
    found = rank_positives(
        TableScorer(torch.from_numpy(scores)),
        torch.arange(6),
        ragged([[item] for item in positives]),
        seen_of(seen),
        block_bytes=block_bytes,
    )
    for removed, ranks in ((False, found.seen_included), (True, found.seen_removed)):
        expected = [
            counted(scores[q].tolist(), positives[q], set(seen[q]) - {positives[q]} if removed else set()) for q in range(6)
        ]
        assert list(zip(ranks.above.tolist(), ranks.tied.tolist(), strict=True)) == expected


def test_what_was_seen_does_not_compete_but_a_seen_positive_does() -> None:
    scorer = TableScorer(torch.tensor([[5.0, 4.0, 4.0, 3.0]]))
    found = rank_positives(scorer, torch.tensor([0]), ragged([[2]]), seen_of([[0, 1, 2]]))
    assert (found.seen_included.above.tolist(), found.seen_included.tied.tolist()) == ([1], [2])
    assert (found.seen_removed.above.tolist(), found.seen_removed.tied.tolist()) == ([0], [1])


def test_double_scores_are_not_rounded() -> None:
    scorer = TableScorer(torch.tensor([[2.0**24, 2.0**24 + 1]], dtype=torch.float64))
    found = rank_positives(scorer, torch.tensor([0]), ragged([[0]]), seen_of([[]]))
    assert (found.seen_included.above.tolist(), found.seen_included.tied.tolist()) == ([1], [1])


def test_infinite_scores_are_ranked() -> None:
    scorer = TableScorer(torch.tensor([[-torch.inf, 0.0, torch.inf, torch.inf]]))
    found = rank_positives(scorer, torch.tensor([0]), ragged([[0, 2]]), seen_of([[]]))
    assert (found.seen_included.above.tolist(), found.seen_included.tied.tolist()) == ([3, 0], [1, 2])


@pytest.mark.parametrize("block_bytes", [8, 2**20])
def test_nan_is_an_error_wherever_it_is(block_bytes: int) -> None:
    scores_QN = torch.zeros(3, 5)
    scores_QN[2, 3] = torch.nan
    with pytest.raises(DataError, match=r"one of query row 2 is NaN .*: look for NaN"):
        rank_positives(
            TableScorer(scores_QN), torch.tensor([0, 2]), ragged([[0], [1]]), seen_of([[]] * 3), block_bytes=block_bytes
        )


def test_no_queries() -> None:
    found = rank_positives(TableScorer(torch.zeros(2, 3)), torch.arange(0), ragged([]), seen_of([[]] * 2))
    assert len(found.seen_included) == len(found.seen_removed) == 0


def test_memory_stays_within_its_block() -> None:
    """200 queries over 300,000 items: no more scores at a time than the block has room for, and each once."""
    scorer = ZeroScorer(300_000)
    rows = torch.arange(200)
    asked: list[int] = []

    def seen(block: Tensor) -> Ragged:
        asked.append(len(block))
        return ragged([[1]] * len(block))

    found = rank_positives(scorer, rows, Ragged(rows, torch.arange(201)), seen, block_bytes=24_000_000)
    assert found.seen_included.tied.tolist() == [300_000] * 200
    assert set(scorer.asked) == {(10, 300_000)}
    assert len(scorer.asked) == 20
    assert asked == [10] * 20


def test_a_query_larger_than_its_block_is_tiled() -> None:
    scorer = ZeroScorer(1_000)
    rank_positives(scorer, torch.arange(2), ragged([[1], [2]]), seen_of([[]] * 2), block_bytes=8 * 400)
    one_query = [(1, 400), (1, 400), (1, 200)]
    assert scorer.asked == one_query * 4  # once for the positive's score and once to compare, for each query


def test_tiles_that_do_not_cover_the_catalogue_are_an_error() -> None:
    class Short(TableScorer):
        def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
            del tile_size
            yield 0, self.scores_QN[rows, :2]

    with pytest.raises(ValueError, match="must cover its 3 items; came 2"):
        rank_positives(Short(torch.zeros(1, 3)), torch.arange(1), ragged([[0]]), seen_of([[]]))

    class Skipping(TableScorer):
        def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
            del tile_size
            yield 1, self.scores_QN[rows, 1:]

    with pytest.raises(ValueError, match="must follow one another and have 1 rows; after 0 items"):
        rank_positives(Skipping(torch.zeros(1, 3)), torch.arange(1), ragged([[0]]), seen_of([[]]))


def test_positives_must_fit() -> None:
    scorer = TableScorer(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"in \[0, 3\), or -1 \(came: 0 to 3\)"):
        rank_positives(scorer, torch.arange(2), ragged([[0], [3]]), seen_of([[]] * 2))
    with pytest.raises(ValueError, match="one entry per query; came 1 for 2 queries"):
        rank_positives(scorer, torch.arange(2), ragged([[0]]), seen_of([[]] * 2))
