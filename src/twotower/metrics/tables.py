"""The usual metrics side by side, by their keys: ``"recall@10"``, ``"ndcg@10"``, ``"mrr"``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def metric_rows(
    ranks: Ranks, ks: Sequence[int], users: IntArray, *, unit: Unit = "interaction", catalogue_size: int | None = None
) -> MetricRows:
    """Compute recall, precision, hit rate, NDCG, MAP and MRR for every test row, or for every user.

    The keys are ``recall@k``, ``precision@k``, ``hit_rate@k``, ``ndcg@k``, ``map@k`` and ``mrr@k``, each for all ``ks``, and
    last ``mrr``, which is not cut. With one positive per row (``interaction``) recall is the hit rate, precision the hit
    rate by ``k``, and MAP is MRR; formulas, denominators and ties are said in `per_interaction` and `per_user`.

    Args:
        ranks: ``n`` positives.
        ks: Cut-offs, each at least 1, no repeats.
        users: int64 ``[n]``: the user of each positive.
        unit: ``interaction``: a value for each positive. ``user``: for each user, in ascending order; each (user, item) must
            then be there once.
        catalogue_size: N, at least 1. Given, no list is longer, so that what is ranked behind the catalogue
            (``Ranks.unranked``) is a miss at every ``k`` and in ``mrr``; precision is by ``k`` all the same.

    Raises:
        ValueError: If the unit, a cut-off, the catalogue's size or the length of ``users`` is wrong.

    Example:
        >>> ranks, users = Ranks(np.array([0, 4]), np.array([1, 1])), np.array([1, 1])
        >>> metric_rows(ranks, [1, 5], users).means()["recall@1"]
        0.5
        >>> metric_rows(ranks, [1, 5], users, unit="user").means()["hit_rate@1"]
        1.0
        >>> metric_rows(Ranks.unranked(1, 4), [9], np.array([1]), catalogue_size=4).means()["recall@9"]
        0.0
    """
    if len(set(ks)) != len(ks) or any(k < 1 for k in ks):
        raise ValueError(f"ks must be at least 1 and without repeats; came {list(ks)}")
    if np.shape(users) != ranks.above.shape:
        raise ValueError(f"users must have the length of ranks, {ranks.above.shape}; came {np.shape(users)}")
    if catalogue_size is not None and catalogue_size < 1:
        raise ValueError(f"the catalogue must have an item; came a catalogue of {catalogue_size}")
    depths = {k: k if catalogue_size is None else min(k, catalogue_size) for k in ks}
    if unit == "interaction":
        columns = _interaction_columns(ranks, depths, catalogue_size)
        return MetricRows(tuple(columns), np.stack(list(columns.values()), axis=1), np.asarray(users))
    if unit != "user":
        raise ValueError(f"unit must be 'interaction' or 'user'; came {unit!r}")
    grouped = per_user.group_by_user(ranks, users)
    columns = _user_columns(grouped, depths, catalogue_size)
    return MetricRows(tuple(columns), np.stack(list(columns.values()), axis=1), grouped.users)


def _interaction_columns(ranks: Ranks, depths: Mapping[int, int], catalogue_size: int | None) -> dict[str, FloatArray]:
    """``depths``: how long a list is for each ``k``, shorter than ``k`` where the catalogue is."""
    columns = {f"recall@{k}": per_interaction.hit_rate(ranks, depth) for k, depth in depths.items()}
    columns |= {f"precision@{k}": per_interaction.precision(ranks, depth) * depth / k for k, depth in depths.items()}
    columns |= {f"hit_rate@{k}": columns[f"recall@{k}"] for k in depths}
    columns |= {f"ndcg@{k}": per_interaction.ndcg(ranks, depth) for k, depth in depths.items()}
    columns |= {f"map@{k}": per_interaction.average_precision(ranks, depth) for k, depth in depths.items()}
    columns |= {f"mrr@{k}": per_interaction.reciprocal_rank(ranks, depth) for k, depth in depths.items()}
    return columns | {"mrr": per_interaction.reciprocal_rank(ranks, catalogue_size)}


def _user_columns(grouped: per_user.UserRanks, depths: Mapping[int, int], catalogue_size: int | None) -> dict[str, FloatArray]:
    columns = {f"recall@{k}": per_user.user_recall(grouped, depth) for k, depth in depths.items()}
    columns |= {f"precision@{k}": per_user.user_precision(grouped, depth) * depth / k for k, depth in depths.items()}
    columns |= {f"hit_rate@{k}": per_user.user_hit_rate(grouped, depth) for k, depth in depths.items()}
    columns |= {f"ndcg@{k}": per_user.user_ndcg(grouped, depth) for k, depth in depths.items()}
    columns |= {f"map@{k}": per_user.user_average_precision(grouped, depth) for k, depth in depths.items()}
    columns |= {f"mrr@{k}": per_user.user_reciprocal_rank(grouped, depth) for k, depth in depths.items()}
    return columns | {"mrr": per_user.user_reciprocal_rank(grouped, catalogue_size)}


def summarise(
    ranks: Ranks,
    ks: Sequence[int],
    users: IntArray,
    *,
    seed: int,
    unit: Unit = "interaction",
    catalogue_size: int | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, MetricValue]:
    """The usual metrics with intervals over users; see ``metric_rows`` and ``bootstrap_interval``.

    Example:
        >>> summary = summarise(Ranks(np.array([0, 4]), np.array([1, 1])), [1, 10], np.array([7, 8]), seed=0)
        >>> summary["recall@1"], summary["recall@10"].low
        (MetricValue(mean=0.5, low=0.0, high=1.0), 1.0)
    """
    rows = metric_rows(ranks, ks, users, unit=unit, catalogue_size=catalogue_size)
    interval = bootstrap_interval(rows.values, rows.users, seed=seed, draws=draws, level=level)
    figures = zip(rows.names, *(part.tolist() for part in interval), strict=True)
    return {name: MetricValue(mean, low, high) for name, mean, low, high in figures}
