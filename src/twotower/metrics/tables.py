"""The usual metrics side by side, by their keys: ``"recall@10"``, ``"ndcg@10"``, ``"mrr"``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from twotower.metrics import per_interaction, per_user
from twotower.metrics.intervals import bootstrap_interval
from twotower.metrics.ranks import FloatArray, IntArray, Ranks

__all__ = ["MetricRows", "MetricValue", "Unit", "metric_rows", "summarise"]

Unit: TypeAlias = Literal["interaction", "user"]
"""What is averaged over: test rows, each by itself, or users, each with all of his or her relevant items."""


class MetricRows(NamedTuple):
    """Metrics before averaging, ready for a bootstrap.

    Attributes:
        names: Keys of the ``m`` metrics.
        values: float64 ``[n, m]``: per test row, or per user.
        users: int64 ``[n]``: the user of each row of ``values``.
    """

    names: tuple[str, ...]
    values: FloatArray
    users: IntArray

    def means(self) -> dict[str, float]:
        """Mean of each metric over the rows.

        Raises:
            ValueError: If there are no rows.
        """
        if not len(self.users):
            raise ValueError("metrics need at least one positive; came none: is the test split empty?")
        return dict(zip(self.names, self.values.mean(axis=0).tolist(), strict=True))


class MetricValue(NamedTuple):
    """A metric with its interval over users."""

    mean: float
    low: float
    high: float


def metric_rows(ranks: Ranks, ks: Sequence[int], users: IntArray, *, unit: Unit = "interaction") -> MetricRows:
    """Compute the usual metrics for every test row, or for every user.

    Args:
        ranks: ``n`` positives.
        ks: Cut-offs, each at least 1, no repeats.
        users: int64 ``[n]``: the user of each positive.
        unit: ``interaction``: ``recall@k`` (the hit rate), ``ndcg@k`` and ``mrr``. ``user``: ``recall@k``, ``precision@k``,
            ``hit_rate@k``, ``ndcg@k``, ``map@k`` and ``mrr``; each (user, item) must then be there once.

    Raises:
        ValueError: If the unit, a cut-off or the length of ``users`` is wrong.

    Example:
        >>> ranks, users = Ranks(np.array([0, 4]), np.array([1, 1])), np.array([1, 1])
        >>> metric_rows(ranks, [1, 5], users).means()["recall@1"]
        0.5
        >>> metric_rows(ranks, [1, 5], users, unit="user").means()["hit_rate@1"]
        1.0
    """
    if len(set(ks)) != len(ks) or any(k < 1 for k in ks):
        raise ValueError(f"ks must be at least 1 and without repeats; came {list(ks)}")
    if np.shape(users) != ranks.above.shape:
        raise ValueError(f"users must have the length of ranks, {ranks.above.shape}; came {np.shape(users)}")
    columns: dict[str, FloatArray]
    if unit == "interaction":
        columns = {f"recall@{k}": per_interaction.hit_rate(ranks, k) for k in ks}
        columns |= {f"ndcg@{k}": per_interaction.ndcg(ranks, k) for k in ks}
        columns["mrr"] = per_interaction.reciprocal_rank(ranks)
        return MetricRows(tuple(columns), np.stack(list(columns.values()), axis=1), np.asarray(users))
    if unit != "user":
        raise ValueError(f"unit must be 'interaction' or 'user'; came {unit!r}")
    grouped = per_user.group_by_user(ranks, users)
    columns = {f"recall@{k}": per_user.user_recall(grouped, k) for k in ks}
    columns |= {f"precision@{k}": per_user.user_precision(grouped, k) for k in ks}
    columns |= {f"hit_rate@{k}": per_user.user_hit_rate(grouped, k) for k in ks}
    columns |= {f"ndcg@{k}": per_user.user_ndcg(grouped, k) for k in ks}
    columns |= {f"map@{k}": per_user.user_average_precision(grouped, k) for k in ks}
    columns["mrr"] = per_user.user_reciprocal_rank(grouped)
    return MetricRows(tuple(columns), np.stack(list(columns.values()), axis=1), grouped.users)


def summarise(
    ranks: Ranks,
    ks: Sequence[int],
    users: IntArray,
    *,
    seed: int,
    unit: Unit = "interaction",
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, MetricValue]:
    """The usual metrics with intervals over users; see ``metric_rows`` and ``bootstrap_interval``.

    Example:
        >>> summary = summarise(Ranks(np.array([0, 4]), np.array([1, 1])), [1, 10], np.array([7, 8]), seed=0)
        >>> summary["recall@1"], summary["recall@10"].low
        (MetricValue(mean=0.5, low=0.0, high=1.0), 1.0)
    """
    rows = metric_rows(ranks, ks, users, unit=unit)
    interval = bootstrap_interval(rows.values, rows.users, seed=seed, draws=draws, level=level)
    figures = zip(rows.names, *(part.tolist() for part in interval), strict=True)
    return {name: MetricValue(mean, low, high) for name, mean, low, high in figures}
