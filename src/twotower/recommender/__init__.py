"""Ids in, ids out: preprocessing, model, index, catalogue and histories together."""

from twotower.recommender.bundled import bundle_folder, load_recommender, write_recommender
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.recommender import Recommender
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_users import StoredUsers

__all__ = [
    "Recommendations",
    "Recommender",
    "RequestDefaults",
    "StoredUsers",
    "bundle_folder",
    "load_recommender",
    "write_recommender",
]
