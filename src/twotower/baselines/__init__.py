"""Rankers without a model, judged by the same evaluation."""

from twotower.baselines.popularity import PopularityScorer
from twotower.baselines.random import RandomScorer

__all__ = ["PopularityScorer", "RandomScorer"]
