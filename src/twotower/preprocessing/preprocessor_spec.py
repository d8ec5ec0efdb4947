"""Everything that preprocessing found in train, in a form that goes to JSON and back."""

from __future__ import annotations

from collections import Counter

from pydantic import Field, model_validator

from twotower.config import Config
from twotower.preprocessing.features import FittedFeature
from twotower.preprocessing.history import FittedHistory
from twotower.spec import FloatsColumn, ItemsColumn, RowsColumn

__all__ = ["PreprocessorSpec"]


class PreprocessorSpec(Config):
    """The fitted features of both towers.

    Attributes:
        user_column: Column of the user's id.
        item_column: Column of the item's id.
        user: Features of the query that are read from a table of users, one row per user.
        context: Features of the query that are read from the interaction (or the request).
        history: Features of the query that are read from the user's history.
        candidate: Features of the candidate, read from the catalogue, one row per item.
        query_order: Names of the query's features, from all three groups, in the order of the query tower's inputs.
    """

    user_column: str
    item_column: str
    user: tuple[FittedFeature, ...] = ()
    context: tuple[FittedFeature, ...] = ()
    history: tuple[FittedHistory, ...] = ()
    candidate: tuple[FittedFeature, ...] = Field(min_length=1)
    query_order: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> PreprocessorSpec:
        names = [feature.config.output_name for feature in (*self.user, *self.context, *self.history)]
        if sorted(names) != sorted(self.query_order):
            raise ValueError(
                f"query_order must name every feature of the query once; came {list(self.query_order)} for {names}"
            )
        for tower, columns in (("query", self.query_columns), ("candidate", self.candidate_columns)):
            twice = [name for name, times in Counter(column.name for column in columns).items() if times > 1]
            if twice:
                raise ValueError(f"column names must be unique in the {tower} tower; {twice[0]!r} came twice")
        return self

    @property
    def query_columns(self) -> tuple[RowsColumn | FloatsColumn | ItemsColumn, ...]:
        """Encoded columns of the query, in the order that was configured."""
        by_name = {feature.config.output_name: feature.columns for feature in (*self.user, *self.context, *self.history)}
        return tuple(column for name in self.query_order for column in by_name[name])

    @property
    def candidate_columns(self) -> tuple[RowsColumn | FloatsColumn, ...]:
        """Encoded columns of the candidate, in the order that was configured."""
        return tuple(column for feature in self.candidate for column in feature.columns)
