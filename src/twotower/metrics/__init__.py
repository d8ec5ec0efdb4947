"""Metrics from ranks: exact under ties, one value per test row or per user, with intervals over users. NumPy only."""

from twotower.metrics.intervals import Difference, Interval, bootstrap_interval, holm, nested_difference, paired_difference
from twotower.metrics.per_interaction import hit_rate, ndcg, reciprocal_rank
from twotower.metrics.per_user import (
    UserRanks,
    group_by_user,
    user_average_precision,
    user_hit_rate,
    user_ndcg,
    user_precision,
    user_recall,
    user_reciprocal_rank,
)
from twotower.metrics.ranks import Ranks, Ties
from twotower.metrics.tables import MetricRows, MetricValue, Unit, metric_rows, summarise

__all__ = [
    "Difference",
    "Interval",
    "MetricRows",
    "MetricValue",
    "Ranks",
    "Ties",
    "Unit",
    "UserRanks",
    "bootstrap_interval",
    "group_by_user",
    "hit_rate",
    "holm",
    "metric_rows",
    "ndcg",
    "nested_difference",
    "paired_difference",
    "reciprocal_rank",
    "summarise",
    "user_average_precision",
    "user_hit_rate",
    "user_ndcg",
    "user_precision",
    "user_recall",
    "user_reciprocal_rank",
]
