"""Ids in, ids out: preprocessing, model, index, catalogue and histories together."""

from twotower.recommender.answers import Answer, Request, answer_all
from twotower.recommender.batch import BatchOptions, BatchReport, PartDone, recommend_batch
from twotower.recommender.bundled import bundle_folder
from twotower.recommender.events import Event
from twotower.recommender.filters import Condition, Where
from twotower.recommender.index_building import IndexKind, IndexOptions, build_index
from twotower.recommender.items import Items
from twotower.recommender.live import LiveRecommender, Moment
from twotower.recommender.predictions import Predictions
from twotower.recommender.recommendations import Recommendations
from twotower.recommender.recommender import Recommender, load
from twotower.recommender.request_table import RequestTable, all_users, request_table
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_index import remove_index
from twotower.recommender.stored_users import StoredUsers

__all__ = [
    "Answer",
    "BatchOptions",
    "BatchReport",
    "Condition",
    "Event",
    "IndexKind",
    "IndexOptions",
    "Items",
    "LiveRecommender",
    "Moment",
    "PartDone",
    "Predictions",
    "Recommendations",
    "Recommender",
    "Request",
    "RequestDefaults",
    "RequestTable",
    "StoredUsers",
    "Where",
    "all_users",
    "answer_all",
    "build_index",
    "bundle_folder",
    "load",
    "recommend_batch",
    "remove_index",
    "request_table",
]
