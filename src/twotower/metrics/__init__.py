"""Figures of rankings (exact under ties, one value per test row or per user, with intervals) and of lists. NumPy only."""

from twotower.metrics.calibration import calibration_divergence
from twotower.metrics.coverage import catalogue_coverage, gini
from twotower.metrics.diversity import intra_list_diversity_by_categories, intra_list_diversity_by_vectors
from twotower.metrics.intervals import (
    Difference,
    Interval,
    bootstrap_interval,
    bootstrap_ratio,
    holm,
    nested_difference,
    nested_differences,
    paired_difference,
)
from twotower.metrics.lists import ListValues, recommended_counts
from twotower.metrics.per_interaction import average_precision, hit_rate, ndcg, precision, reciprocal_rank
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
from twotower.metrics.popularity import PopularityLift, novelty, popularity_lift
from twotower.metrics.ragged_array import RaggedArray
from twotower.metrics.ranks import Ranks, Ties
from twotower.metrics.ratings import RatingErrors, rating_errors, squared_error_difference
from twotower.metrics.tables import MetricRows, MetricValue, Unit, metric_rows, summarise

__all__ = [
    "Difference",
    "Interval",
    "ListValues",
    "MetricRows",
    "MetricValue",
    "PopularityLift",
    "RaggedArray",
    "Ranks",
    "RatingErrors",
    "Ties",
    "Unit",
    "UserRanks",
    "average_precision",
    "bootstrap_interval",
    "bootstrap_ratio",
    "calibration_divergence",
    "catalogue_coverage",
    "gini",
    "group_by_user",
    "hit_rate",
    "holm",
    "intra_list_diversity_by_categories",
    "intra_list_diversity_by_vectors",
    "metric_rows",
    "ndcg",
    "nested_difference",
    "nested_differences",
    "novelty",
    "paired_difference",
    "popularity_lift",
    "precision",
    "rating_errors",
    "reciprocal_rank",
    "recommended_counts",
    "squared_error_difference",
    "summarise",
    "user_average_precision",
    "user_hit_rate",
    "user_ndcg",
    "user_precision",
    "user_recall",
    "user_reciprocal_rank",
]
