"""Fitting features on train tables, once, and encoding tables to columns of integers and floats.

A feature is chosen as a frozen config (`IdFeature`, `NumberFeature`, ...), ``fit`` on a column of train gives a frozen, fitted
feature (`FittedId`, ...) that goes to JSON and back exactly, and ``encode`` turns a column into tensors: int32 rows, ragged
int32 rows, or float32 numbers, as the ``columns`` of the fitted feature say. A value that train did not have is never an error.
"""

from twotower.preprocessing.buckets import BucketsFeature, FittedBuckets
from twotower.preprocessing.category import CategoryFeature, FillCategory, FittedCategory
from twotower.preprocessing.features import ColumnFeatureConfig, FeatureConfig, FittedFeature
from twotower.preprocessing.geo import FittedGeo, GeoFeature
from twotower.preprocessing.history import FittedHistory, HistoryFeature, SequenceFeature
from twotower.preprocessing.id import FittedId, IdFeature
from twotower.preprocessing.kept_numbers import FittedNumbers, keep_numbers, numbers_of
from twotower.preprocessing.lookup import Lookup
from twotower.preprocessing.matched_rows import NO_ROW, matched_rows
from twotower.preprocessing.missing import FillNumber
from twotower.preprocessing.multi_category import FittedMultiCategory, MultiCategoryFeature
from twotower.preprocessing.number import FittedNumber, NumberFeature
from twotower.preprocessing.preprocessor import Preprocessor
from twotower.preprocessing.preprocessor_spec import PreprocessorSpec
from twotower.preprocessing.text import FittedText, TextFeature
from twotower.preprocessing.timestamp import FittedTimestamp, TimestampFeature
from twotower.preprocessing.vector import FittedVector, VectorFeature

__all__ = [
    "NO_ROW",
    "BucketsFeature",
    "CategoryFeature",
    "ColumnFeatureConfig",
    "FeatureConfig",
    "FillCategory",
    "FillNumber",
    "FittedBuckets",
    "FittedCategory",
    "FittedFeature",
    "FittedGeo",
    "FittedHistory",
    "FittedId",
    "FittedMultiCategory",
    "FittedNumber",
    "FittedNumbers",
    "FittedText",
    "FittedTimestamp",
    "FittedVector",
    "GeoFeature",
    "HistoryFeature",
    "IdFeature",
    "Lookup",
    "MultiCategoryFeature",
    "NumberFeature",
    "Preprocessor",
    "PreprocessorSpec",
    "SequenceFeature",
    "TextFeature",
    "TimestampFeature",
    "VectorFeature",
    "keep_numbers",
    "matched_rows",
    "numbers_of",
]
