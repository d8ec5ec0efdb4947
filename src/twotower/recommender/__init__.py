"""Ids in, ids out: preprocessing, model, index, catalogue and histories together."""

from twotower.recommender.bundled import bundle_folder
from twotower.recommender.predictions import Predictions
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.recommender import Recommender, load
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_users import StoredUsers

__all__ = [
    "Predictions",
    "Recommendations",
    "Recommender",
    "RequestDefaults",
    "StoredUsers",
    "bundle_folder",
    "load",
]
