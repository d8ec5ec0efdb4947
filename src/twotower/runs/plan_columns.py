"""What the features of a recipe would be encoded as, where no table was read: what it declares, and what is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twotower.errors import ConfigError, nearest
from twotower.preprocessing import (
    BucketsFeature,
    CategoryFeature,
    FeatureConfig,
    GeoFeature,
    HistoryFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    SequenceFeature,
    TextFeature,
    TimestampFeature,
    VectorFeature,
)
from twotower.runs.model_spec import FittedColumns
from twotower.runs.recipe import Recipe
from twotower.spec import ColumnSpec, FloatsColumn, ItemsColumn, RowsColumn

__all__ = ["AssumedColumns", "assume_columns", "grown_columns", "mean_history"]

_CATEGORIES, _VECTOR, _CELLS = 1_000, 128, (400, 10_000)
_WORDS, _VALUES = 8.0, 3.0
_EVENT_ROWS = 18


@dataclass(frozen=True)
class AssumedColumns:
    """Columns, and how much of a row each holds.

    Attributes:
        columns: By feature.
        lengths: Values of a row, on average, by name of the column; what is not named has one.
        notes: What was assumed, in sentences.
    """

    columns: FittedColumns
    lengths: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Assumed:
    def __init__(self, recipe: Recipe, rows: int, users: int, items: int, vocabularies: Mapping[str, int]) -> None:
        self.recipe = recipe
        self.rows, self.users, self.items = rows, users, items
        self.vocabularies = dict(vocabularies)
        self.used: set[str] = set()
        self.lengths: dict[str, float] = {}
        self.notes: list[str] = []

    def columns(self, feature: FeatureConfig) -> tuple[ColumnSpec, ...]:
        name = feature.output_name
        schema = self.recipe.data.columns
        match feature:
            case IdFeature():
                of = {schema.user: self.users, schema.item: self.items}.get(feature.column)
                rows = feature.hash_buckets or (self._rows(name, _CATEGORIES, "ids") if of is None else of)
                return (RowsColumn(name=name, vocabulary_size=rows + 1 + (feature.tail_buckets or 0)),)
            case HistoryFeature() | SequenceFeature():
                self.lengths[name] = mean_history(self.rows, self.users, feature)
                if feature.items == "candidate":
                    return (ItemsColumn(name=name),)
                return (RowsColumn(name=name, vocabulary_size=self.items + 1, ragged=True),)
            case CategoryFeature():
                size = self._rows(name, _CATEGORIES, "values") + 1 + (feature.missing == "own_row")
                return (RowsColumn(name=name, vocabulary_size=size),)
            case TextFeature():
                self._length(name, min(_WORDS, feature.max_tokens or _WORDS), "words")
                size = self._rows(name, feature.max_vocabulary, "words")
                return (RowsColumn(name=name, vocabulary_size=size + 1, ragged=True),)
            case MultiCategoryFeature():
                self._length(name, min(_VALUES, feature.max_values or _VALUES), "values")
                return (RowsColumn(name=name, vocabulary_size=self._rows(name, _CATEGORIES, "values") + 1, ragged=True),)
            case BucketsFeature():
                edges = len(feature.edges) if feature.edges is not None else (feature.num_edges or 1)
                return (RowsColumn(name=name, vocabulary_size=edges + 1 + (feature.missing == "own_row")),)
            case NumberFeature():
                return (FloatsColumn(name=name, width=2 if feature.missing == "own" else 1),)
            case TimestampFeature():
                return _time_columns(feature)
            case VectorFeature():
                return (FloatsColumn(name=name, width=self._rows(name, _VECTOR, "numbers")),)
            case GeoFeature():
                coarse, fine = _CELLS
                self.notes.append(f"{name}: {coarse:,} coarse and {fine:,} fine cells (assumed)")
                return (
                    FloatsColumn(name=name, width=4),
                    RowsColumn(name=f"{name}_coarse", vocabulary_size=coarse + 2),
                    RowsColumn(name=f"{name}_fine", vocabulary_size=fine + 2),
                )

    def _rows(self, name: str, usual: int, what: str) -> int:
        if name in self.vocabularies:
            self.used.add(name)
            return self.vocabularies[name]
        self.notes.append(f"{name}: {usual:,} {what} (assumed; --vocabulary {name}=N)")
        return usual

    def _length(self, name: str, usual: float, what: str) -> None:
        self.lengths[name] = usual
        self.notes.append(f"{name}: {usual:g} {what} a row (assumed; --mean-length {name}=N)")


def assume_columns(
    recipe: Recipe, *, rows: int, users: int, items: int, vocabularies: Mapping[str, int] | None = None
) -> AssumedColumns:
    """The columns of every feature, from what the recipe declares and how many users and items there are.

    Args:
        recipe: Its features.
        rows: Of the interactions.
        users: Known ones; a user's id has a row for each.
        items: Of the catalogue; an item's id, and histories, have a row for each.
        vocabularies: Values of other features, by name.

    Raises:
        ConfigError: If a vocabulary is named that no feature has.
    """
    found = _Assumed(recipe, rows, users, items, vocabularies or {})
    query = {entry.feature.output_name: found.columns(entry.feature) for entry in recipe.query.features}
    candidate = {entry.feature.output_name: found.columns(entry.feature) for entry in recipe.candidate.features}
    wrong = sorted(set(found.vocabularies) - found.used)
    if wrong:
        named = [*query, *candidate]
        raise ConfigError(
            f"--vocabulary {wrong[0]}: no feature has a vocabulary of its own by that name{nearest(wrong[0], named)}"
        )
    events = {
        entry.feature.output_name: tuple(RowsColumn(name=own, vocabulary_size=_EVENT_ROWS) for own in entry.feature.columns)
        for entry in recipe.query.features
        if isinstance(entry.feature, SequenceFeature)
    }
    notes = list(dict.fromkeys(found.notes))
    if any(isinstance(entry.feature, HistoryFeature | SequenceFeature) for entry in recipe.query.features):
        notes.append("histories: every user has as many rows as any other (assumed; --mean-length NAME=N)")
    return AssumedColumns(FittedColumns(query, candidate, events), found.lengths, tuple(notes))


def mean_history(rows: int, users: int, feature: HistoryFeature | SequenceFeature) -> float:
    """Items of a history, on average over the rows, where every user has as many rows as any other.

    A row of a user's ``n`` has 0 to ``n - 1`` before it, ``n - 1`` others; at most ``max_length`` are read.

    Example:
        >>> mean_history(1000, 100, HistoryFeature()), mean_history(1000, 100, HistoryFeature(mode="others"))
        (4.5, 9.0)
        >>> mean_history(1000, 100, HistoryFeature(max_length=2))
        1.7
    """
    each = rows / users
    most = float(each) if feature.max_length is None else float(feature.max_length)
    if isinstance(feature, HistoryFeature) and feature.mode == "others":
        return min(most, max(0.0, each - 1))
    if each <= most + 1:
        return max(0.0, (each - 1) / 2)
    # 0, 1, ... most - 1, and most from there on
    return (most * (most - 1) / 2 + most * (each - most)) / each


def _time_columns(feature: TimestampFeature) -> tuple[ColumnSpec, ...]:
    name = feature.output_name
    found: list[ColumnSpec] = []
    if feature.num_edges is not None:
        found.append(RowsColumn(name=f"{name}.bucket", vocabulary_size=feature.num_edges + 1))
    if feature.standardise:
        found.append(FloatsColumn(name=f"{name}.standardised", width=1))
    found += [FloatsColumn(name=f"{name}.hour", width=2)] if feature.hour_of_day else []
    found += [FloatsColumn(name=f"{name}.weekday", width=2)] if feature.day_of_week else []
    return tuple(found)


def grown_columns(recipe: Recipe, columns: FittedColumns, *, users: float, items: float) -> FittedColumns:
    """Columns that were fitted, as if there were so many times as many users and items; row 0 stays one row.

    Args:
        recipe: Says which features are of the ids of users and items.
        columns: As they were fitted.
        users: Times as many.
        items: Times as many.
    """
    schema = recipe.data.columns
    times = {schema.user: users, schema.item: items}

    def grown(feature: FeatureConfig, of: tuple[ColumnSpec, ...]) -> tuple[ColumnSpec, ...]:
        if isinstance(feature, IdFeature):
            factor = 1.0 if feature.hash_buckets is not None else times.get(feature.column, 1.0)
        else:
            factor = items if isinstance(feature, HistoryFeature | SequenceFeature) else 1.0
        return tuple(
            column.model_copy(update={"vocabulary_size": 1 + round((column.vocabulary_size - 1) * factor)})
            if isinstance(column, RowsColumn)
            else column
            for column in of
        )

    return FittedColumns(
        {e.feature.output_name: grown(e.feature, columns.query[e.feature.output_name]) for e in recipe.query.features},
        {e.feature.output_name: grown(e.feature, columns.candidate[e.feature.output_name]) for e in recipe.candidate.features},
        columns.events,
    )
