"""The kinds of features, as closed unions that are told apart by ``kind``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from twotower.preprocessing.buckets import BucketsFeature, FittedBuckets
from twotower.preprocessing.category import CategoryFeature, FittedCategory
from twotower.preprocessing.geo import FittedGeo, GeoFeature
from twotower.preprocessing.history import HistoryFeature, SequenceFeature
from twotower.preprocessing.id import FittedId, IdFeature
from twotower.preprocessing.multi_category import FittedMultiCategory, MultiCategoryFeature
from twotower.preprocessing.number import FittedNumber, NumberFeature
from twotower.preprocessing.text import FittedText, TextFeature
from twotower.preprocessing.timestamp import FittedTimestamp, TimestampFeature
from twotower.preprocessing.vector import FittedVector, VectorFeature

__all__ = ["ColumnFeatureConfig", "FeatureConfig", "FittedFeature"]

ColumnFeatureConfig: TypeAlias = (
    IdFeature
    | CategoryFeature
    | NumberFeature
    | BucketsFeature
    | TimestampFeature
    | GeoFeature
    | TextFeature
    | MultiCategoryFeature
    | VectorFeature
)
"""A chosen feature that reads a table."""

FeatureConfig: TypeAlias = Annotated[ColumnFeatureConfig | HistoryFeature | SequenceFeature, Field(discriminator="kind")]
"""A chosen feature of any kind."""

FittedFeature: TypeAlias = Annotated[
    FittedId
    | FittedCategory
    | FittedNumber
    | FittedBuckets
    | FittedTimestamp
    | FittedGeo
    | FittedText
    | FittedMultiCategory
    | FittedVector,
    Field(discriminator="kind"),
]
"""A fitted feature that reads a table."""
