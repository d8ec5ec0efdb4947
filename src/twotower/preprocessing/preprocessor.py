"""Fit the features of both towers on train tables; encode tables with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError, nearest
from twotower.preprocessing.features import ColumnFeatureConfig, FeatureConfig, FittedFeature
from twotower.preprocessing.history import FittedHistory, HistoryFeature, SequenceFeature
from twotower.preprocessing.preprocessor_spec import PreprocessorSpec
from twotower.preprocessing.stored_columns import chosen_rows, encode_stored, fit_stored
from twotower.preprocessing.vocabulary_field import LargeVocabularies, with_vocabularies
from twotower.spec import FloatsColumn, ItemsColumn, RowsColumn
from twotower.types import Column, StoredColumn

__all__ = ["Preprocessor"]

_SOURCE = "preprocessor"


class Preprocessor:
    """Encodes users, contexts and items to columns of integers and floats, by what was found in train.

    Args:
        spec: The fitted features; see `fit`.

    Example:
        >>> from twotower.preprocessing import IdFeature, NumberFeature
        >>> preprocessor = Preprocessor.fit(
        ...     [IdFeature(column="user")],
        ...     [IdFeature(column="item"), NumberFeature(column="price")],
        ...     users=pl.DataFrame({"user": ["ann", "bob"]}),
        ...     context=pl.DataFrame({"user": ["ann", "bob", "ann"], "item": ["x", "x", "y"]}),
        ...     items=pl.DataFrame({"item": ["x", "y"], "price": [1.0, 3.0]}),
        ...     user_column="user",
        ...     item_column="item",
        ... )
        >>> preprocessor.encode_users(pl.DataFrame({"user": ["bob", "eve"]}))
        {'user': tensor([2, 0], dtype=torch.int32)}
        >>> Preprocessor.from_json(preprocessor.to_json()).spec == preprocessor.spec
        True
    """

    def __init__(self, spec: PreprocessorSpec) -> None:
        self.spec = spec

    @classmethod
    def fit(
        cls,
        query: Sequence[FeatureConfig],
        candidate: Sequence[FeatureConfig],
        *,
        users: pl.DataFrame,
        context: pl.DataFrame,
        items: pl.DataFrame,
        user_column: str,
        item_column: str,
        user_counts: NDArray[np.int64] | None = None,
        item_counts: NDArray[np.int64] | None = None,
        context_rows: NDArray[np.int64] | None = None,
    ) -> Preprocessor:
        """Fit every feature on the train tables.

        A feature of the query is read from ``users`` if its columns are there, else from ``context``; the user's id is
        always read from ``users``. Histories are fitted on the ids of ``items``.

        Args:
            query: Features of the query, in the order of the tower's inputs.
            candidate: Features of the candidate, in the order of the tower's inputs; no histories.
            users: One row per user, with the user's id.
            context: One row per train interaction.
            items: One row per item, with the item's id.
            user_column: Column of the user's id.
            item_column: Column of the item's id.
            user_counts: Train interactions of each row of ``users``; None: one each.
            item_counts: Train interactions of each row of ``items``; None: one each.
            context_rows: Row numbers of ``context`` that are the train interactions, so that nobody has to copy them out of a
                large table; None: all.

        Raises:
            ConfigError: If a column does not exist or is in both tables of the query, if the item's id is an input of the
                query, or if a name is used twice; all faults at once.
            DataError: If features can't be fitted; all of them at once.
        """
        faults = _faults(query, candidate, users, context, items, user_column, item_column)
        if faults:
            raise ConfigError(faults)
        fitted: dict[str, list[FittedFeature]] = {"user": [], "context": [], "candidate": []}
        history: list[FittedHistory] = []
        failed: list[str] = []
        for tower, features in (("query", query), ("candidate", candidate)):
            for feature in features:
                try:
                    if isinstance(feature, SequenceFeature):
                        events = pl.DataFrame([chosen_rows(context[name], context_rows) for name in feature.columns])
                        history.append(feature.fit(items[item_column], item_counts, events))
                    elif isinstance(feature, HistoryFeature):
                        history.append(feature.fit(items[item_column], item_counts))
                    elif tower == "candidate":
                        fitted["candidate"].append(feature.fit(feature.source(items), item_counts))
                    elif set(feature.source_columns) <= set(users.columns):
                        fitted["user"].append(feature.fit(feature.source(users), user_counts))
                    else:
                        fitted["context"].append(fit_stored(feature, chosen_rows(feature.source(context), context_rows)))
                except DataError as error:
                    failed.append(f"{tower} feature {feature.output_name!r}: {error}")
        if failed:
            raise DataError(
                failed[0] if len(failed) == 1 else "".join([f"{len(failed)} features", *(f"\n  - {f}" for f in failed)])
            )
        try:
            spec = PreprocessorSpec(
                user_column=user_column,
                item_column=item_column,
                user=tuple(fitted["user"]),
                context=tuple(fitted["context"]),
                history=tuple(history),
                candidate=tuple(fitted["candidate"]),
                query_order=tuple(feature.output_name for feature in query),
            )
        except ValidationError as error:  # columns of different features that have one name
            raise ConfigError([fault["msg"].removeprefix("Value error, ") for fault in error.errors()]) from None
        return cls(spec)

    @property
    def query_columns(self) -> tuple[RowsColumn | FloatsColumn | ItemsColumn, ...]:
        """Encoded columns of the query, histories included, in the order that was configured."""
        return self.spec.query_columns

    @property
    def candidate_columns(self) -> tuple[RowsColumn | FloatsColumn, ...]:
        """Encoded columns of the candidate, in the order that was configured."""
        return self.spec.candidate_columns

    def encode_users(self, frame: pl.DataFrame) -> dict[str, Column]:
        """The query's columns that are read from a table of users.

        Raises:
            DataError: If a column is not in the frame, has another dtype than in train, or misses values where that is an
                error. Unknown values are never an error.
        """
        return _encode(self.spec.user, frame)

    def encode_context(self, frame: pl.DataFrame) -> dict[str, Column]:
        """The query's columns that are read from interactions or requests; raises as `encode_users` does."""
        return _encode(self.spec.context, frame)

    def encode_features(self, features: Iterable[FittedFeature], frame: pl.DataFrame) -> dict[str, Column]:
        """The columns of some features of the spec, from a table that has what they read; raises as `encode_users` does."""
        return _encode(features, frame)

    def encode_rows(self, frame: pl.DataFrame, rows: NDArray[np.int64] | None = None) -> dict[str, StoredColumn]:
        """What `encode_context` gives for some rows of a table, in the form that takes the least memory; raises as it does.

        Columns of categories (``pl.Enum``), and of few distinct numbers, become `twotower.types.Coded`: a code of one, two or
        four bytes a row, which all features of the column share, and each distinct value encoded once. `take_column` gives
        the rows that `encode_context` would.

        Args:
            frame: The table, which is not copied; it may be memory-mapped, and the codes may be its memory.
            rows: Row numbers, in any order, int64 ``[m]``; None: all.
        """
        _require_columns(self.spec.context, frame)
        return encode_stored(self.spec.context, frame, rows)

    def encode_items(self, frame: pl.DataFrame) -> dict[str, Column]:
        """The candidate's columns; raises as `encode_users` does."""
        return _encode(self.spec.candidate, frame)

    def history_lookup(self, item_ids: pl.Series) -> dict[str, Tensor]:
        """For each history feature with a vocabulary, the row of each item, int32 ``[N]``, 0 for one that it does not know."""
        return {feature.config.name: feature.encode(item_ids) for feature in self.spec.history if feature.lookup is not None}

    def event_columns(self, frame: pl.DataFrame) -> dict[str, dict[str, Tensor]]:
        """For each history feature, what it reads of events beside their items, by column: int32 ``[n]``.

        Args:
            frame: Interactions, with the columns.

        Raises:
            DataError: If a column is of another type than in train.
        """
        return {feature.config.name: feature.encode_events(frame) for feature in self.spec.history}

    def to_json(self) -> str:
        """The spec as JSON; `from_json` gives an equal preprocessor, every float to the last bit."""
        return self.spec.model_dump_json()

    def to_parts(self, *, large: int = 50_000) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """The spec as plain values for JSON, and its large vocabularies as tables, for JSON is no place for millions of ids.

        Args:
            large: From so many ids on, a vocabulary is a table, and a name stands for it among the values.

        Returns:
            The values, and by name tables of one column ``id``; features of the same ids have one table together.
        """
        vocabularies = LargeVocabularies(at_least=large)
        values = self.spec.model_dump(mode="json", context=vocabularies)
        return values, {name: ids.to_frame("id") for name, ids in vocabularies.found.items()}

    @classmethod
    def from_parts(cls, values: object, table: Callable[[str], pl.DataFrame]) -> Preprocessor:
        """The preprocessor of `to_parts`; values without such tables, as `to_json` has them, are read too.

        Args:
            values: The values.
            table: Gives the table of a name.

        Raises:
            ConfigError: If the values are not such a spec, or a table is not one of ids.
        """
        tables: dict[str, pl.Series] = {}

        def ids(name: str) -> pl.Series:
            if name not in tables:
                frame = table(name)
                if frame.columns != ["id"]:
                    raise ConfigError(f"{name} must be a table of one column 'id'; it has {frame.columns}", source=_SOURCE)
                tables[name] = frame["id"]
            return tables[name]

        return cls(parse_config(PreprocessorSpec, with_vocabularies(values, ids), source=_SOURCE))

    @classmethod
    def from_json(cls, text: str) -> Preprocessor:
        """The preprocessor that `to_json` wrote.

        Raises:
            ConfigError: If the text is not such a spec.
        """
        try:
            return cls(PreprocessorSpec.model_validate_json(text))
        except ValidationError as error:
            faults = [f"{'.'.join(str(part) for part in fault['loc']) or '(top)'}: {fault['msg']}" for fault in error.errors()]
            raise ConfigError(faults, source="preprocessor spec") from None


def _encode(features: Iterable[FittedFeature], frame: pl.DataFrame) -> dict[str, Column]:
    features = tuple(features)
    _require_columns(features, frame)
    encoded: dict[str, Column] = {}
    for feature in features:
        encoded.update(feature.encode(feature.config.source(frame)))
    return encoded


def _require_columns(features: Iterable[FittedFeature], frame: pl.DataFrame) -> None:
    absent = sorted({column for feature in features for column in feature.config.source_columns} - set(frame.columns))
    if absent:
        sentences = [f"column {column!r} must be in the table{nearest(column, frame.columns)}" for column in absent]
        raise DataError("; ".join(sentences))


def _faults(
    query: Sequence[FeatureConfig],
    candidate: Sequence[FeatureConfig],
    users: pl.DataFrame,
    context: pl.DataFrame,
    items: pl.DataFrame,
    user_column: str,
    item_column: str,
) -> list[str]:
    faults: list[str] = []
    for table, frame, column in (("users", users, user_column), ("items", items, item_column)):
        if column not in frame.columns:
            faults.append(f"the table of {table} must have the id column {column!r}{nearest(column, frame.columns)}")
    for tower, features in (("query", query), ("candidate", candidate)):
        names = [feature.output_name for feature in features]
        if not names:
            faults.append(f"the {tower} tower must have at least one feature")
        faults += [
            f"{tower} feature {name!r}: {names.count(name)} features have this name; set name"
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ]
    for feature in query:
        if isinstance(feature, SequenceFeature):
            faults += [
                f"query feature {feature.name!r}: no column {column!r} in the interactions{nearest(column, context.columns)}"
                for column in feature.columns
                if column not in context.columns
            ]
        elif not isinstance(feature, HistoryFeature):
            faults += _query_faults(feature, users, context, user_column, item_column)
    for feature in candidate:
        start = f"candidate feature {feature.output_name!r}"
        if isinstance(feature, HistoryFeature | SequenceFeature):
            faults.append(f"{start}: a history belongs to the query; items have none")
        else:
            faults += [
                f"{start}: no column {column!r} among the items{nearest(column, items.columns)}"
                for column in feature.source_columns
                if column not in items.columns
            ]
    return faults


def _query_faults(
    feature: ColumnFeatureConfig, users: pl.DataFrame, context: pl.DataFrame, user_column: str, item_column: str
) -> list[str]:
    start = f"query feature {feature.output_name!r}"
    faults = []
    places = set()
    for column in feature.source_columns:
        in_users, in_context = column in users.columns, column in context.columns
        if column == item_column:
            faults.append(
                f"{start}: {column!r} is the item to be found; as an input of the query it would give the answer away"
            )
        elif in_users and in_context and column != user_column:
            faults.append(
                f"{start}: column {column!r} is ambiguous: it is among the users and in the interactions; rename one of them"
            )
        elif not in_users and not in_context:
            known = (set(users.columns) | set(context.columns)) - {item_column}
            faults.append(f"{start}: no column {column!r} among the users or in the interactions{nearest(column, known)}")
        else:
            places.add("users" if in_users else "interactions")
    if len(places) > 1:
        faults.append(
            f"{start}: {' and '.join(map(repr, feature.source_columns))} must be columns of one table; one is among the users, "
            "one in the interactions"
        )
    return faults
