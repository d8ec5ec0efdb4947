"""Figures from ranks, against lists sorted by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.data import Examples, build_histories
from twotower.errors import DataError
from twotower.evaluation import evaluate, evaluate_per_user


class TableScorer:
    def __init__(self, scores_QN: Tensor) -> None:
        self.scores_QN = scores_QN

    @property
    def num_items(self) -> int:
        return int(self.scores_QN.shape[1])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, self.num_items, tile_size):
            yield start, self.scores_QN[rows, start : start + tile_size]


def examples_of(
    users: list[int], items: list[int], judged: list[int], *, grow: bool, frozen_from: int | None = None
) -> Examples:
    """Interactions in the order of time; the judged ones, with what came before them (before ``frozen_from`` at most)."""
    user_rows, item_rows = np.array(users), np.array(items)
    member = None if frozen_from is None else np.arange(len(users)) < frozen_from
    histories, before = build_histories(
        user_rows, item_rows, np.arange(len(users)), num_users=int(user_rows.max()) + 1, member=member
    )
    return Examples(
        user_rows=torch.from_numpy(user_rows[np.array(judged, dtype=np.int64)]),
        item_rows=torch.from_numpy(item_rows[np.array(judged, dtype=np.int64)]),
        users={},
        context={},
        histories=histories,
        before=before[torch.tensor(judged, dtype=torch.int64)],
        seen_before=grow,
    )


def random_case(seed: int) -> tuple[list[int], list[int], list[int], Tensor]:
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 4, 40).tolist(), rng.integers(0, 9, 40).tolist()
    judged = list(range(25, 40))
    for row in (26, 33, 34):
        items[row] = -1
    # distinct scores, so that there is one list
    scores_QN = torch.from_numpy(np.stack([rng.permutation(9) for _ in judged]).astype(np.float32))
    return users, items, judged, scores_QN


def ranked(scores: Tensor, without: set[int]) -> list[int]:
    return [item for item in torch.argsort(scores, descending=True).tolist() if item not in without]


def test_per_interaction_equals_sorting() -> None:
    users, items, judged, scores_QN = random_case(0)
    found = evaluate(TableScorer(scores_QN), examples_of(users, items, judged, grow=True), ks=[1, 3, 20], ndcg_ks=[3])
    for removed, figures in ((False, found.seen_included), (True, found.seen_removed)):
        hits: dict[int, list[float]] = {1: [], 3: [], 20: []}
        gains, reciprocals = [], []
        for query, row in enumerate(judged):
            before = {items[r] for r in range(row) if users[r] == users[row]} if removed else set()
            order = ranked(scores_QN[query], before - {items[row]})
            rank = order.index(items[row]) + 1 if items[row] >= 0 else math.inf
            for k, values in hits.items():
                values.append(float(rank <= k))
            gains.append(1 / math.log2(rank + 1) if rank <= 3 else 0.0)
            reciprocals.append(1 / rank)
        for k, values in hits.items():
            assert figures.values[f"recall@{k}"] == pytest.approx(np.mean(values))
            assert figures.rows[f"recall@{k}"].tolist() == pytest.approx(values)
        assert figures.values["ndcg@3"] == pytest.approx(np.mean(gains))
        assert figures.values["mrr"] == pytest.approx(np.mean(reciprocals))
    assert found.unit == "interaction"
    assert (found.units, found.not_in_catalogue) == (15, 3)
    assert found.seen_included.values["recall@20"] == pytest.approx(12 / 15)  # 9 items: a list has no place for the others
    assert found.seen_included.values != found.seen_removed.values
    assert found.seconds > 0


def test_per_user_equals_sorting() -> None:
    users, items, judged, scores_QN = random_case(1)
    found = evaluate_per_user(TableScorer(scores_QN), examples_of(users, items, judged, grow=True), ks=[2, 5, 20], draws=50)
    people = sorted({users[row] for row in judged})
    for removed, figures in ((False, found.seen_included), (True, found.seen_removed)):
        expected: dict[str, list[float]] = {key: [] for key in figures.values}
        for user in people:
            mine = [row for row in judged if users[row] == user]
            relevant = {items[row] for row in mine if items[row] >= 0}
            count = len(relevant) + sum(items[row] < 0 for row in mine)
            before = {items[r] for r in range(mine[0]) if users[r] == user} if removed else set()
            order = ranked(scores_QN[judged.index(mine[0])], before - relevant)
            ranks = sorted(order.index(item) + 1 for item in relevant)
            for k in (2, 5, 20):
                depth = min(k, 9)
                within = [rank for rank in ranks if rank <= depth]
                ideal = sum(1 / math.log2(place + 2) for place in range(min(depth, count)))
                expected[f"recall@{k}"].append(len(within) / count)
                expected[f"precision@{k}"].append(len(within) / k)
                expected[f"hit_rate@{k}"].append(float(bool(within)))
                expected[f"mrr@{k}"].append(1 / within[0] if within else 0.0)
                expected[f"ndcg@{k}"].append(sum(1 / math.log2(rank + 1) for rank in within) / ideal)
                precision = sum((place + 1) / rank for place, rank in enumerate(within))
                expected[f"map@{k}"].append(precision / min(depth, count))
            expected["mrr"].append(1 / ranks[0] if ranks else 0.0)
        for key, values in expected.items():
            assert figures.rows[key].tolist() == pytest.approx(values), key
            assert figures.values[key] == pytest.approx(np.mean(values))
        assert set(figures.intervals) == set(figures.values)
    assert found.unit == "user"
    assert (found.units, found.not_in_catalogue) == (len(people), 3)


def test_a_user_list_is_made_before_the_first_row() -> None:
    # user 0: item 0, then rows 1 and 2 are judged; their order among the examples does not matter
    examples = examples_of([0, 0, 0], [0, 1, 2], [2, 1], grow=True)
    scores_QN = torch.tensor([[0.0, 0.0, 1.0], [2.0, 1.0, 0.0]])  # of row 2, of row 1
    found = evaluate_per_user(TableScorer(scores_QN), examples, ks=[2], draws=0)
    assert found.seen_included.values["recall@2"] == 0.5
    assert found.seen_removed.values["recall@2"] == 1.0  # item 0 does not compete


def test_a_repeated_item_is_relevant_once() -> None:
    examples = examples_of([0, 0, 0], [1, 1, 2], [0, 1, 2], grow=True)
    found = evaluate_per_user(TableScorer(torch.tensor([[0.0, 3.0, 1.0, 2.0]] * 3)), examples, ks=[1], draws=0)
    assert found.seen_included.values["recall@1"] == 0.5


def test_ties_count_with_their_expectation_and_both_ends_are_shown_where_they_differ() -> None:
    examples = examples_of([0, 1], [0, 3], [0, 1], grow=True)
    scores_QN = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    found = evaluate(TableScorer(scores_QN), examples, ks=[1, 4], draws=0).seen_included
    assert found.values["recall@1"] == pytest.approx((1 / 4 + 1) / 2)
    assert found.optimistic == {"recall@1": 1.0}
    assert found.pessimistic == {"recall@1": 0.5}
    assert found.intervals == {}
    apart = evaluate(TableScorer(torch.arange(8.0).view(2, 4)), examples, ks=[1, 4], draws=0).seen_included
    assert (apart.optimistic, apart.pessimistic) == ({}, {})


@pytest.mark.parametrize(("queries", "shown"), [(1999, True), (2001, False)])
def test_both_ends_are_shown_from_five_in_ten_thousand(queries: int, shown: bool) -> None:
    # one query of many is tied: the ends differ by 1 / queries
    scores_QN = torch.zeros(queries, 2)
    scores_QN[1:, 1] = -1.0
    examples = examples_of([0] * queries, [0] * queries, list(range(queries)), grow=True)
    found = evaluate(TableScorer(scores_QN), examples, ks=[1], draws=0).seen_included
    assert bool(found.optimistic) is shown
    assert found.values["recall@1"] == pytest.approx(1 - 0.5 / queries)


def test_intervals_cover_the_figure_and_follow_the_seed() -> None:
    users, items, judged, scores_QN = random_case(2)
    examples = examples_of(users, items, judged, grow=True)
    scorer = TableScorer(scores_QN)
    first, again, other = (evaluate(scorer, examples, ks=[3], draws=200, seed=seed).seen_removed for seed in (0, 0, 1))
    low, high = first.intervals["recall@3"]
    assert low < first.values["recall@3"] < high
    assert again.intervals == first.intervals
    assert other.intervals != first.intervals
    fewer = evaluate(scorer, examples, ks=[3], draws=20, seed=0).seen_removed
    assert fewer.intervals != first.intervals


def test_rows_chooses_what_is_judged() -> None:
    users, items, judged, scores_QN = random_case(3)
    examples = examples_of(users, items, judged, grow=True)
    every = evaluate(TableScorer(scores_QN), examples, ks=[3], draws=0)
    some = evaluate(TableScorer(scores_QN), examples, ks=[3], draws=0, rows=torch.tensor([7, 2, 11]))
    assert some.units == 3
    assert some.seen_removed.rows["recall@3"].tolist() == every.seen_removed.rows["recall@3"][[7, 2, 11]].tolist()


def test_the_seen_set_grows_or_stays_at_the_cut() -> None:
    # user 0 does 0, 1, 2 in this order; train ends after the first
    growing = examples_of([0, 0, 0], [0, 1, 2], [2], grow=True)
    frozen = examples_of([0, 0, 0], [0, 1, 2], [2], grow=False, frozen_from=1)
    scorer = TableScorer(torch.tensor([[3.0, 2.0, 1.0]]))
    assert evaluate(scorer, growing, ks=[1], draws=0).seen_removed.values["recall@1"] == 1.0
    assert evaluate(scorer, frozen, ks=[1], draws=0).seen_removed.values["recall@1"] == 0.0
    assert evaluate(scorer, frozen, ks=[2], draws=0).seen_removed.values["recall@2"] == 1.0


def test_without_growing_all_of_train_is_seen_whenever_it_was() -> None:
    # the judged row came first, the train row (item 0) after it
    rows = examples_of([0, 0], [1, 0], [0], grow=False)
    scorer = TableScorer(torch.tensor([[2.0, 1.0]]))
    assert evaluate(scorer, rows, ks=[1], draws=0).seen_removed.values["recall@1"] == 1.0
    assert evaluate(scorer, replace(rows, seen_before=True), ks=[1], draws=0).seen_removed.values["recall@1"] == 0.0


def test_nothing_to_judge_is_an_error() -> None:
    examples = examples_of([0], [0], [], grow=True)
    scorer = TableScorer(torch.zeros(0, 3))
    with pytest.raises(DataError, match="at least one row to judge; came 0: give the split a test part"):
        evaluate(scorer, examples, ks=[1])
    with pytest.raises(DataError, match="at least one row to judge"):
        evaluate_per_user(scorer, examples, ks=[1])


def test_a_user_whose_items_the_catalogue_lacks_scores_nothing() -> None:
    examples = examples_of([0, 1], [-1, 2], [0, 1], grow=True)
    found = evaluate_per_user(TableScorer(torch.tensor([[0.0, 0.0, 1.0]] * 2)), examples, ks=[1, 50], draws=0)
    for figures in (found.seen_included, found.seen_removed):
        found_rows = {key: values.tolist() for key, values in figures.rows.items()}
        assert found_rows.pop("precision@50") == [0.0, pytest.approx(1 / 50)]
        assert found_rows == {key: [0.0, 1.0] for key in found_rows}
