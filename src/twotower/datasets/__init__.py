"""Data sets with known answers: MovieLens, and planted worlds."""

from twotower.datasets.movielens import MovieLens, MovieLensName, movielens
from twotower.datasets.worlds import checkerboard, tastes, time_drift

__all__ = ["MovieLens", "MovieLensName", "checkerboard", "movielens", "tastes", "time_drift"]
