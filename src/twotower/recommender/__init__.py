"""Ids in, ids out: preprocessing, model, index, catalogue and histories together."""

from twotower.recommender.batch import BatchOptions, BatchReport, PartDone, recommend_batch
from twotower.recommender.bundled import bundle_folder
from twotower.recommender.predictions import Predictions
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.recommender import Recommender, load
from twotower.recommender.request_table import RequestTable, all_users, request_table
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_users import StoredUsers

__all__ = [
    "BatchOptions",
    "BatchReport",
    "PartDone",
    "Predictions",
    "Recommendations",
    "Recommender",
    "RequestDefaults",
    "RequestTable",
    "StoredUsers",
    "all_users",
    "bundle_folder",
    "load",
    "recommend_batch",
    "request_table",
]
