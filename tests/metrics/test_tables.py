from __future__ import annotations

import numpy as np
import pytest

from twotower.metrics import (
    Ranks,
    Unit,
    bootstrap_interval,
    group_by_user,
    hit_rate,
    metric_rows,
    ndcg,
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


def test_rows_per_interaction() -> None:
    rows = metric_rows(RANKS, [2, 5], USERS)
    assert rows.names == ("recall@2", "recall@5", "ndcg@2", "ndcg@5", "mrr")
    assert rows.users.tolist() == USERS.tolist()
    columns = [hit_rate(RANKS, 2), hit_rate(RANKS, 5), ndcg(RANKS, 2), ndcg(RANKS, 5), reciprocal_rank(RANKS)]
    assert rows.values.tolist() == np.stack(columns, axis=1).tolist()


def test_rows_per_user() -> None:
    rows = metric_rows(RANKS, [2, 5], USERS, unit="user")
    grouped = group_by_user(RANKS, USERS)
    assert rows.users.tolist() == [3, 5, 8]
    columns = {
        "recall": user_recall,
        "precision": user_precision,
        "hit_rate": user_hit_rate,
        "ndcg": user_ndcg,
        "map": user_average_precision,
    }
    expected = {f"{name}@{k}": metric(grouped, k).tolist() for name, metric in columns.items() for k in (2, 5)}
    expected["mrr"] = user_reciprocal_rank(grouped).tolist()
    assert {name: rows.values[:, column].tolist() for column, name in enumerate(rows.names)} == expected


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
    nothing = metric_rows(Ranks.concatenate([]), [5], np.empty(0, dtype=np.int64))
    with pytest.raises(ValueError, match=r"at least one positive; came none"):
        nothing.means()
