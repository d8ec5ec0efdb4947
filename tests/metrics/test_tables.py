from __future__ import annotations

import math

import numpy as np
import pytest

from twotower.metrics import (
    MetricRows,
    Ranks,
    Unit,
    average_precision,
    bootstrap_interval,
    group_by_user,
    hit_rate,
    metric_rows,
    ndcg,
    precision,
    reciprocal_rank,
    summarise,
    user_average_precision,
    user_hit_rate,
    user_ndcg,
    user_precision,
    user_recall,
    user_reciprocal_rank,
)

RANKS = Ranks(np.array([0, 3, 1, 12, 4]), np.array([1, 2, 4, 1, 3]))
USERS = np.array([8, 8, 3, 3, 5])


def columns_of(rows: MetricRows) -> dict[str, list[float]]:
    return {name: rows.values[:, column].tolist() for column, name in enumerate(rows.names)}


def test_rows_per_interaction() -> None:
    rows = metric_rows(RANKS, [2, 5], USERS)
    assert rows.users.tolist() == USERS.tolist()
    metrics = {
        "recall": hit_rate,
        "precision": precision,
        "hit_rate": hit_rate,
        "ndcg": ndcg,
        "map": average_precision,
        "mrr": reciprocal_rank,
    }
    expected = {f"{name}@{k}": metric(RANKS, k).tolist() for name, metric in metrics.items() for k in (2, 5)}
    assert columns_of(rows) == expected | {"mrr": reciprocal_rank(RANKS).tolist()}
    assert list(rows.names) == [*expected, "mrr"]


def test_rows_per_user() -> None:
    rows = metric_rows(RANKS, [2, 5], USERS, unit="user")
    grouped = group_by_user(RANKS, USERS)
    assert rows.users.tolist() == [3, 5, 8]
    metrics = {
        "recall": user_recall,
        "precision": user_precision,
        "hit_rate": user_hit_rate,
        "ndcg": user_ndcg,
        "map": user_average_precision,
        "mrr": user_reciprocal_rank,
    }
    expected = {f"{name}@{k}": metric(grouped, k).tolist() for name, metric in metrics.items() for k in (2, 5)}
    assert columns_of(rows) == expected | {"mrr": user_reciprocal_rank(grouped).tolist()}
    assert list(rows.names) == [*expected, "mrr"]


@pytest.mark.parametrize("unit", ["interaction", "user"])
def test_what_the_catalogue_lacks_is_a_miss_when_its_size_is_given(unit: Unit) -> None:
    # a catalogue of 6: one user has its last item and one that it lacks
    ranks, users = Ranks(np.array([5, 6]), np.array([1, 1])), np.array([0, 0])
    free = metric_rows(ranks, [4, 9], users, unit=unit).means()
    held = metric_rows(ranks, [4, 9], users, unit=unit, catalogue_size=6).means()
    assert (free["recall@9"], held["recall@9"]) == (1.0, 0.5)
    per_list = 2 if unit == "user" else 1
    assert held["precision@9"] == pytest.approx(0.5 * per_list / 9)  # by 9, though no list is longer than 6
    assert (held["hit_rate@4"], held["mrr@4"]) == (0.0, 0.0)
    assert held["mrr"] == held["mrr@9"] == pytest.approx(1 / 6 / (1 if unit == "user" else 2))
    if unit == "interaction":
        assert free["mrr"] == pytest.approx((1 / 6 + 1 / 7) / 2)
        assert held["ndcg@9"] == pytest.approx(1 / math.log2(7) / 2)
        assert held["map@9"] == pytest.approx(1 / 6 / 2)
    else:
        assert held["ndcg@9"] == pytest.approx(1 / math.log2(7) / (1 + 1 / math.log2(3)))
        assert held["map@9"] == pytest.approx(1 / 6 / 2)
    summary = summarise(ranks, [9], users, unit=unit, seed=0, catalogue_size=6)
    assert summary["recall@9"].mean == 0.5


@pytest.mark.parametrize("unit", ["interaction", "user"])
def test_summary_has_means_and_intervals_over_users(unit: Unit) -> None:
    rows = metric_rows(RANKS, [2, 5], USERS, unit=unit)
    summary = summarise(RANKS, [2, 5], USERS, unit=unit, seed=7, draws=40, level=0.8)
    interval = bootstrap_interval(rows.values, rows.users, seed=7, draws=40, level=0.8)
    assert {name: value.mean for name, value in summary.items()} == pytest.approx(rows.means(), rel=1e-12)
    for column, name in enumerate(rows.names):
        assert (summary[name].low, summary[name].high) == (interval.low[column], interval.high[column])
    assert isinstance(summary["mrr"].mean, float)


def test_the_units_differ() -> None:
    interaction, user = metric_rows(RANKS, [5], USERS).means(), metric_rows(RANKS, [5], USERS, unit="user").means()
    assert interaction["recall@5"] == pytest.approx((1 + 1 + 1 + 0 + 1 / 3) / 5)
    assert user["recall@5"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


@pytest.mark.parametrize("ks", [[0, 5], [5, 5]])
def test_cut_offs_must_be_cut_offs(ks: list[int]) -> None:
    with pytest.raises(ValueError, match=r"at least 1 and without repeats; came \["):
        metric_rows(RANKS, ks, USERS)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'interaction' or 'user'; came 'row'"):
        metric_rows(RANKS, [5], USERS, unit="row")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"length of ranks, \(5,\); came \(2,\)"):
        metric_rows(RANKS, [5], USERS[:2])
    with pytest.raises(ValueError, match=r"a catalogue of 0"):
        metric_rows(RANKS, [5], USERS, catalogue_size=0)
    nothing = metric_rows(Ranks.concatenate([]), [5], np.empty(0, dtype=np.int64))
    with pytest.raises(ValueError, match=r"at least one positive; came none"):
        nothing.means()
