"""The best items of every query against sorting the whole catalogue, in one tile and in many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from twotower.errors import DataError
from twotower.evaluation import rank_positives, top_items
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


def ragged(lists: list[list[int]]) -> Ragged:
    offsets = torch.zeros(len(lists) + 1, dtype=torch.int64)
    offsets[1:] = torch.tensor([len(entry) for entry in lists], dtype=torch.int64).cumsum(0)
    return Ragged(torch.tensor([value for entry in lists for value in entry], dtype=torch.int64), offsets)


def seen_of(lists: list[list[int]]) -> Callable[[Tensor], Ragged]:
    """What each row of the scorer's table has seen."""
    return lambda rows: ragged([lists[row] for row in rows.tolist()])


def by_sorting(scores: list[float], k: int, without: list[int]) -> list[int]:
    left = [item for item in range(len(scores)) if item not in without]
    best = sorted(left, key=lambda item: (-scores[item], item))[:k]
    return best + [-1] * (k - len(best))


BLOCKS = [1, 48 * 3, 48 * 7, 48 * 40, 64 * 2**20]
"""Bytes for one score, 3, 7 and 40 scores, and more than all."""

scores = st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 1e-300, 0.5, 2.0, math.inf])


@given(st.data(), st.sampled_from(BLOCKS), st.integers(1, 8))
def test_is_the_head_of_the_sorted_catalogue(data: st.DataObject, block_bytes: int, k: int) -> None:
    num_items = data.draw(st.integers(1, 6))
    table = data.draw(st.lists(st.lists(scores, min_size=num_items, max_size=num_items), min_size=1, max_size=5))
    seen = [data.draw(st.lists(st.integers(0, num_items - 1), max_size=num_items)) for _ in table]
    rows = torch.tensor(data.draw(st.permutations(range(len(table)))))[:4]
    scorer = TableScorer(torch.tensor(table, dtype=torch.float64))
    found = top_items(scorer, rows, k, block_bytes=block_bytes)
    assert (found.dtype, found.shape) == (torch.int64, (len(rows), k))
    assert found.tolist() == [by_sorting(table[row], k, []) for row in rows.tolist()]
    removed = top_items(scorer, rows, k, seen=seen_of(seen), block_bytes=block_bytes)
    assert removed.tolist() == [by_sorting(table[row], k, seen[row]) for row in rows.tolist()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_larger_tables_with_many_ties(dtype: torch.dtype, block_bytes: int) -> None:
    rng = np.random.default_rng(3)
    table = torch.from_numpy(rng.integers(-6, 7, size=(23, 57)) / 4).to(dtype)
    seen = [rng.permutation(57)[: rng.integers(0, 57)].tolist() for _ in range(23)]
    found = top_items(TableScorer(table), torch.arange(23), 10, seen=seen_of(seen), block_bytes=block_bytes)
    assert found.tolist() == [by_sorting(table[row].tolist(), 10, seen[row]) for row in range(23)]


def test_by_hand() -> None:
    scorer = TableScorer(torch.tensor([[1.0, 5.0, 1.0, 7.0, -1.0]]))
    row = torch.tensor([0])
    assert top_items(scorer, row, 3).tolist() == [[3, 1, 0]]
    assert top_items(scorer, row, 3, seen=seen_of([[3, 0, 3]])).tolist() == [[1, 2, 4]]
    assert top_items(scorer, row, 7).tolist() == [[3, 1, 0, 2, 4, -1, -1]]
    assert top_items(scorer, row, 2, seen=seen_of([[0, 1, 2, 3, 4]])).tolist() == [[-1, -1]]
    assert top_items(scorer, torch.empty(0, dtype=torch.int64), 2).shape == (0, 2)


def test_an_item_of_the_least_score_competes_and_a_removed_one_does_not() -> None:
    scorer = TableScorer(torch.tensor([[-math.inf, -math.inf, -math.inf, 0.0]]))
    assert top_items(scorer, torch.tensor([0]), 4, seen=seen_of([[1]])).tolist() == [[3, 0, 2, -1]]


def test_is_where_the_ranks_say() -> None:
    rng = np.random.default_rng(5)
    table = torch.from_numpy(rng.normal(size=(12, 40)).astype(np.float32))
    rows = torch.arange(12)
    found = top_items(TableScorer(table), rows, 40)
    positives = Ragged(torch.arange(12), torch.arange(13))
    ranks = rank_positives(TableScorer(table), rows, positives, seen_of([[]] * 12)).seen_included
    assert [found[row, ranks.above[row]].item() for row in range(12)] == list(range(12))


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_memory_is_bounded(block_bytes: int) -> None:
    scorer = TableScorer(torch.zeros(30, 20))
    top_items(scorer, torch.arange(30), 2, block_bytes=block_bytes)
    assert all(queries * width <= max(1, block_bytes // 48) for queries, width in scorer.asked)
    assert sum(queries * width for queries, width in scorer.asked) == 30 * 20  # each score is asked for once


def test_seen_is_asked_for_by_row_and_block() -> None:
    asked: list[list[int]] = []

    def seen(rows: Tensor) -> Ragged:
        asked.append(rows.tolist())
        return ragged([[row] for row in rows.tolist()])

    found = top_items(TableScorer(torch.zeros(5, 4)), torch.tensor([3, 0, 2]), 1, seen=seen, block_bytes=48 * 8)
    assert asked == [[3, 0], [2]]
    assert found.tolist() == [[0], [1], [0]]


def test_a_score_that_is_no_number_is_refused() -> None:
    table = torch.zeros(3, 6)
    table[1, 4] = math.nan
    with pytest.raises(DataError, match=r"query row 1 is NaN \(catalogue rows 3 to 5\)"):
        top_items(TableScorer(table), torch.arange(3), 2, block_bytes=48 * 3)


def test_what_does_not_fit_is_refused() -> None:
    scorer = TableScorer(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"k must be at least 1; came 0"):
        top_items(scorer, torch.arange(2), 0)
    with pytest.raises(ValueError, match=r"a row for each query; came 1 for 2 queries"):
        top_items(scorer, torch.arange(2), 1, seen=lambda _: ragged([[0]]))
    with pytest.raises(ValueError, match=r"in \[0, 3\); came \[3\]"):
        top_items(scorer, torch.arange(2), 1, seen=seen_of([[3], [0]]))
    with pytest.raises(ValueError, match=r"in \[0, 3\); came \[-1\]"):
        top_items(scorer, torch.arange(2), 1, seen=seen_of([[0], [-1]]))
