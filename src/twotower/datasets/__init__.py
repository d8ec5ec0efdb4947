"""Data sets with known answers: MovieLens, and planted worlds."""

from twotower.datasets.livestream import (
    LIVESTREAM_COLUMNS,
    LivestreamFormat,
    LivestreamTruth,
    OracleScorer,
    Synthesizing,
    synthesize_livestream,
)
from twotower.datasets.movielens import MovieLens, MovieLensName, movielens
from twotower.datasets.worlds import checkerboard, tastes, time_drift

__all__ = [
    "LIVESTREAM_COLUMNS",
    "LivestreamFormat",
    "LivestreamTruth",
    "MovieLens",
    "MovieLensName",
    "OracleScorer",
    "Synthesizing",
    "checkerboard",
    "movielens",
    "synthesize_livestream",
    "tastes",
    "time_drift",
]
