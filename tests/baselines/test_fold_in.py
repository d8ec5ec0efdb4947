"""Each row is scored for its own visible history, however rows are batched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.baselines import FoldInScorer
from twotower.data import Examples, build_histories
from twotower.types import Ragged

MakeExamples = Callable[..., Examples]
USERS = [0, 1, 0, 0, 1, 2, 0, 1]
ITEMS = [3, 1, 0, 3, 2, 4, 1, 1]
COUNTS = [5, 0, 2, 2**24, 2**24 + 1]


def fold(seen: Ragged) -> Tensor:
    """Item i scores 10 for being seen, and 1 for each item seen beside: wrong for everybody who sees another history."""
    scores_BN = torch.zeros(seen.num_rows, 5, dtype=torch.float64)
    for query in range(seen.num_rows):
        mine = seen.values[seen.offsets[query] : seen.offsets[query + 1]].tolist()
        assert len(set(mine)) == len(mine)
        scores_BN[query] = len(mine)
        scores_BN[query, mine] += 10
    return scores_BN


def expected(row: int, *, seen_before: bool) -> list[float]:
    reach = row if seen_before else len(USERS)
    seen = {ITEMS[r] for r in range(reach) if USERS[r] == USERS[row]}
    if not seen:
        return [float(count) for count in COUNTS]
    return [len(seen) + 10.0 * (item in seen) for item in range(5)]


@pytest.mark.parametrize("seen_before", [True, False])
@pytest.mark.parametrize("tile_size", [1, 2, 5, 9])
def test_growing_and_whole_histories(growing: MakeExamples, seen_before: bool, tile_size: int) -> None:
    scorer = FoldInScorer(fold, torch.tensor(COUNTS), growing(USERS, ITEMS, seen_before=seen_before))
    assert scorer.num_items == 5
    for rows in ([0, 1, 2, 3, 4, 5, 6, 7], [6, 2, 6], [5], []):
        tiles = list(scorer.tiles(torch.tensor(rows, dtype=torch.int64), tile_size))
        assert [first for first, _ in tiles] == list(range(0, 5, tile_size))
        scores_BN = torch.cat([tile_BT for _, tile_BT in tiles], dim=1)
        assert scores_BN.tolist() == [expected(row, seen_before=seen_before) for row in rows]


def test_scores_that_differ_by_rounding_are_ties_and_counts_are_not(growing: MakeExamples) -> None:
    rounded = torch.tensor([0.1 + 0.2, 0.3, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert rounded[0] != rounded[1]
    scorer = FoldInScorer(
        lambda seen: rounded.repeat(seen.num_rows, 1), torch.tensor(COUNTS), growing(USERS, ITEMS, seen_before=True)
    )
    ((_, scores_BN),) = scorer.tiles(torch.tensor([2, 0]), 5)
    assert scores_BN[0, 0] == scores_BN[0, 1]
    assert scores_BN[1, 3] < scores_BN[1, 4]


def test_rows_of_one_history_are_folded_once(growing: MakeExamples) -> None:
    asked = []

    def counting(seen: Ragged) -> Tensor:
        asked.append(seen.num_rows)
        return fold(seen)

    scorer = FoldInScorer(counting, torch.tensor(COUNTS), growing(USERS, ITEMS, seen_before=False))
    list(scorer.tiles(torch.arange(8), 5))
    assert asked == [3]


def test_a_history_that_does_not_grow_is_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[int] = []

    def fold(seen: Ragged) -> Tensor:
        folded.append(seen.num_rows)
        return torch.arange(seen.num_rows * 6, dtype=torch.float64).reshape(-1, 6) + seen.lengths[:, None]

    histories, before = build_histories(
        np.array([0, 0, 1, 1, 1]), np.array([1, 2, 3, 4, 5]), np.arange(5), num_users=2, member=np.ones(5, dtype=np.bool_)
    )
    users = torch.tensor([0, 0, 1, 1, 1])
    examples = Examples(users, torch.zeros(5, dtype=torch.int64), {}, {}, histories, before, seen_before=False)
    scorer = FoldInScorer(fold, torch.zeros(6), examples)
    whole = next(iter(scorer.tiles(torch.tensor([0, 2]), 6)))[1]
    again = next(iter(scorer.tiles(torch.tensor([4, 1, 3]), 6)))[1]
    assert folded == [2]
    assert torch.equal(again, whole[torch.tensor([1, 0, 1])])
    monkeypatch.setattr("twotower.baselines.fold_in._KEPT_BYTES", 47)  # two users, six items, four bytes: 48
    forgetful = FoldInScorer(fold, torch.zeros(6), examples)
    for rows in (torch.tensor([0, 2]), torch.tensor([0, 2])):
        assert torch.equal(next(iter(forgetful.tiles(rows, 6)))[1], whole)
    assert folded == [2, 2, 2]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5, 6, 7], [7, 2, 5, 0, 6, 1], [4], [6, 6, 3]])
def test_growing_histories_that_add_up_are_folded_item_by_item(growing: MakeExamples, rows: list[int]) -> None:
    folded: list[int] = []
    weights_NN = torch.arange(25, dtype=torch.float64).reshape(5, 5) ** 2

    def summed(seen: Ragged) -> Tensor:
        folded.append(len(seen.values))
        lists = [seen.values[a:b].long() for a, b in zip(seen.offsets[:-1].tolist(), seen.offsets[1:].tolist(), strict=True)]
        return torch.stack([weights_NN[items].sum(0) for items in lists])

    examples = growing(USERS, ITEMS, seen_before=True)
    plain = FoldInScorer(summed, torch.tensor(COUNTS), examples)
    expected = next(iter(plain.tiles(torch.tensor(rows), 5)))[1]
    whole = folded.pop()
    adding = FoldInScorer(summed, torch.tensor(COUNTS), examples, additive=True)
    assert torch.equal(next(iter(adding.tiles(torch.tensor(rows), 5)))[1], expected)
    longest: dict[int, int] = {}
    for row in rows:
        longest[USERS[row]] = max(longest.get(USERS[row], 0), len(examples.seen(torch.tensor([row])).values))
    assert folded == [sum(longest.values())]
    assert folded[0] < whole or len(set(rows)) == len(longest)
