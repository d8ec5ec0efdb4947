"""Rankers without a model, judged by the same evaluation."""

from twotower.baselines.damped_means import DampedMeans
from twotower.baselines.ease import LARGEST_CATALOGUE, ease_scores, fit_ease
from twotower.baselines.fit_rows import FitRows
from twotower.baselines.fold_in import FoldInScorer
from twotower.baselines.ials import fit_ials, ials_scores
from twotower.baselines.item_neighbours import ItemNeighbours, fit_item_neighbours, item_neighbour_scores
from twotower.baselines.popularity import PopularityScorer
from twotower.baselines.random import RandomScorer
from twotower.baselines.recent_popularity import recent_counts
from twotower.baselines.segment_popularity import SegmentCounts, SegmentPopularityScorer, fit_segment_popularity

__all__ = [
    "LARGEST_CATALOGUE",
    "DampedMeans",
    "FitRows",
    "FoldInScorer",
    "ItemNeighbours",
    "PopularityScorer",
    "RandomScorer",
    "SegmentCounts",
    "SegmentPopularityScorer",
    "ease_scores",
    "fit_ease",
    "fit_ials",
    "fit_item_neighbours",
    "fit_segment_popularity",
    "ials_scores",
    "item_neighbour_scores",
    "recent_counts",
]
