"""Tables, curves and groups of a report against slow counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.evaluation import JudgedRows, PositiveRanks
from twotower.metrics import Ranks
from twotower.runs.report_items import by_train_rows
from twotower.runs.report_ranks import compared, curves, groupings, rankers

COUNTS = np.array([5, 3, 1, 1, 0])


def ranks(*above: int) -> PositiveRanks:
    ones = np.ones(len(above), dtype=np.int64)
    placed = np.array(above, dtype=np.int64)
    return PositiveRanks(Ranks(placed, ones), Ranks(np.maximum(placed - 1, 0), ones))


@pytest.fixture
def judged() -> JudgedRows:
    items = np.array([0, 1, 2, 4, -1, 0])
    return JudgedRows(
        rows=np.arange(6),
        user_rows=np.array([0, 0, 1, 2, 2, 3]),
        item_rows=items,
        warm=np.array([True, True, False, False, False, True]),
        history_lengths=np.array([0, 20, 21, 100, 101, 500]),
        item_counts=np.where(items >= 0, COUNTS[items], 0),
        rankers={"model": ranks(0, 1, 2, 3, 4, 0), "popularity": ranks(0, 1, 1, 1, 1, 3), "random": ranks(4, 4, 4, 4, 4, 4)},
    )


def test_figures_are_means_with_intervals(judged: JudgedRows) -> None:
    found = rankers(judged, (1, 2), "recall@3", seed=0, settings={"popularity": "none"})
    assert [ranker.name for ranker in found] == ["model", "popularity", "random"]
    assert list(found[0].included) == ["recall@1", "recall@2", "ndcg@10", "mrr", "recall@3"]
    assert found[0].included["recall@1"].value == pytest.approx(2 / 6)
    assert found[0].removed["recall@1"].value == pytest.approx(3 / 6)
    assert found[0].included["recall@3"].value == pytest.approx(4 / 6)
    estimate = found[0].included["recall@1"]
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < estimate.value < estimate.high
    assert [ranker.settings for ranker in found] == ["", "none", ""]


def test_curves_end_with_the_catalogue_or_at_1000(judged: JudgedRows) -> None:
    found = curves(judged, 5)
    assert found.ks == (1, 2, 3, 4, 5)
    assert found.rankers[0].included == pytest.approx((2 / 6, 3 / 6, 4 / 6, 5 / 6, 5 / 6))  # one item is not in the catalogue
    long = curves(judged, 50_000).ks
    assert (long[0], long[-1]) == (1, 1000)
    assert {10, 100} <= set(long)
    assert len(long) <= 64


def test_groups_are_cut_where_they_are_said_to_be(judged: JudgedRows) -> None:
    found = {g.key: g for g in groupings(judged, by_train_rows(COUNTS, 3), "recall@2", "included", seed=0)}
    assert list(found) == ["popularity", "history", "warmth"]
    popularity = {group.name: group for group in found["popularity"].groups}
    # 10 train rows: item 0 begins at 0, item 1 at 5, items 2 and 3 at 8 and 9
    assert {name: (g.rows, g.items) for name, g in popularity.items()} == {
        "head": (2, 1), "middle": (1, 1), "tail": (1, 2), "not in train": (1, 1), "not in catalogue": (1, None),
    }  # fmt: skip
    assert popularity["head"].rankers["model"].value == 1.0
    assert popularity["head"].rankers["popularity"].value == 0.5
    assert popularity["not in catalogue"].rankers["popularity"].value == 0.0  # a miss, wherever it was put
    assert {g.name: (g.rows, g.users) for g in found["history"].groups} == {
        "none": (1, 1), "1 to 20": (1, 1), "21 to 100": (2, 2), "over 100": (2, 2),
    }  # fmt: skip
    assert {g.name: g.rows for g in found["warmth"].groups} == {"warm": 3, "cold": 3}


def test_a_grouping_of_one_group_is_left_out(judged: JudgedRows) -> None:
    alike = JudgedRows(
        judged.rows, judged.user_rows, judged.item_rows, np.ones(6, dtype=bool), np.zeros(6, dtype=np.int64),
        judged.item_counts, judged.rankers,
    )  # fmt: skip
    found = groupings(alike, by_train_rows(COUNTS, 3), "mrr", "removed", seed=0)
    assert [grouping.key for grouping in found] == ["popularity"]
    assert (found[0].metric, found[0].seen) == ("mrr", "removed")


def test_a_comparison_is_of_the_first_less_the_second(judged: JudgedRows) -> None:
    found = compared(("a", judged, "model"), ("b", judged, "random"), "recall@1", "included", seed=0)
    assert (found.first, found.second, found.users) == ("a", "b", 4)
    assert found.first_value - found.second_value == pytest.approx(found.difference.value) == pytest.approx(2 / 6)
    turned = compared(("b", judged, "random"), ("a", judged, "model"), "recall@1", "included", seed=0)
    assert turned.difference.value == -found.difference.value
    removed = compared(("a", judged, "model"), ("b", judged, "random"), "recall@1", "removed", seed=0)
    assert removed.difference.value == pytest.approx(3 / 6)
