"""From a recipe and what preprocessing found to a model's spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from twotower.errors import ConfigError
from twotower.preprocessing import Preprocessor, SequenceFeature
from twotower.runs.feature_entry import WITH_UNKNOWN_ROW, AskedUpdate, EmbeddingConfig, FeatureEntry
from twotower.runs.recipe import CandidateConfig, ModelConfig, QueryConfig, Recipe
from twotower.spec import (
    ColumnSpec,
    FloatsColumn,
    HeadSpec,
    InputSpec,
    ItemsColumn,
    ModelSpec,
    RowsColumn,
    TableSpec,
    TowerSpec,
)

__all__ = ["FittedColumns", "asked_updates", "fitted_columns", "model_spec", "spec_of_columns"]

_ID_DROPOUT = 0.01
"""Enough to train the row of unknown values, too little to be felt by the known ones."""


def model_spec(recipe: Recipe, preprocessor: Preprocessor, heads: tuple[HeadSpec, ...] = ()) -> ModelSpec:
    """Translate a recipe into the spec that `twotower.models.build` takes; tables that are left to the rule are dense here.

    Args:
        recipe: Towers and tables.
        preprocessor: What fitting found of the inputs.
        heads: What fitting found of the tasks beside retrieval.

    Raises:
        ConfigError: If inputs that share a table do not have the same vocabulary and width; all faults at once.
    """
    tables, query, candidate = _collected(recipe, fitted_columns(preprocessor))
    faults = tables.faults + _vocabulary_faults(recipe, preprocessor)
    if faults:
        raise ConfigError(faults, source="recipe")
    return ModelSpec(
        tables=tuple(tables.specs.values()),
        query=query,
        candidate=candidate,
        share_layers=recipe.model.share_layers,
        heads=heads,
    )


def asked_updates(recipe: Recipe, preprocessor: Preprocessor) -> dict[str, AskedUpdate]:
    """What a recipe says of how each table is updated, by name of the table.

    Args:
        recipe: Towers and tables; `model_spec` finds no fault in it.
        preprocessor: What fitting found of the inputs.
    """
    return _collected(recipe, fitted_columns(preprocessor))[0].asked


@dataclass(frozen=True)
class FittedColumns:
    """What the towers' features are encoded as, by name of the feature.

    Attributes:
        query: Of the query tower.
        candidate: Of the candidate tower.
        events: Of sequences, what is read of each event beside its item.
    """

    query: Mapping[str, tuple[ColumnSpec, ...]]
    candidate: Mapping[str, tuple[ColumnSpec, ...]]
    events: Mapping[str, tuple[RowsColumn, ...]] = field(default_factory=dict)


def fitted_columns(preprocessor: Preprocessor) -> FittedColumns:
    """The columns that fitting found."""
    spec = preprocessor.spec
    return FittedColumns(
        {f.config.output_name: f.columns for f in (*spec.user, *spec.context, *spec.history)},
        {f.config.output_name: f.columns for f in spec.candidate},
        {f.config.name: f.event_columns for f in spec.history},
    )


def spec_of_columns(recipe: Recipe, columns: FittedColumns) -> tuple[ModelSpec, dict[str, AskedUpdate]]:
    """The spec without heads, and what the recipe says of how each table is updated, from columns alone: nothing is fitted.

    Raises:
        ConfigError: If inputs that share a table do not have the same size; all faults at once.
    """
    tables, query, candidate = _collected(recipe, columns)
    if tables.faults:
        raise ConfigError(tables.faults, source="recipe")
    every = tuple(tables.specs.values())
    return ModelSpec(tables=every, query=query, candidate=candidate, share_layers=recipe.model.share_layers), tables.asked


def _collected(recipe: Recipe, columns: FittedColumns) -> tuple[_Tables, TowerSpec, TowerSpec]:
    tables = _Tables()
    items_width = _candidate_width(recipe, columns)
    heads = [(place, heads) for place, heads, width in recipe.heads_of_candidates(items_width) if items_width % heads]
    if heads:
        raise ConfigError(
            [
                f"query.features.{place}.embedding.encoder.heads: the encoder reads the candidate tower's vectors, which are "
                f"{items_width} wide, and that must be a multiple of its heads; came {heads}"
                for place, heads in heads
            ],
            source="recipe",
        )
    query = _tower(recipe.query, recipe.model, columns.query, tables, items_width, columns.events)
    candidate = _tower(recipe.candidate, recipe.model, columns.candidate, tables, items_width)
    return tables, query, candidate


class _Tables:
    """The embedding tables collected so far, and where sharing them went wrong."""

    def __init__(self) -> None:
        self.specs: dict[str, TableSpec] = {}
        self.asked: dict[str, AskedUpdate] = {}
        self.faults: list[str] = []

    def add(self, name: str, column: RowsColumn, embedding: EmbeddingConfig) -> None:
        before = self.asked.get(name, "auto")
        asked = embedding.update if before == "auto" else before
        spec = TableSpec(
            name=name,
            vocabulary_size=column.vocabulary_size,
            embedding_dim=embedding.dim,
            init_scale=embedding.init_scale,
            update="rows" if asked == "rows" else "dense",
        )
        existing = self.specs.get(name, spec)
        both = {before, embedding.update} == {"dense", "rows"}
        if both or existing.model_copy(update={"update": spec.update}) != spec:
            self.faults.append(
                f"feature {column.name!r} shares the embedding table {name!r}, but asks for {spec.vocabulary_size:,} rows of "
                f"{spec.embedding_dim} ({embedding.update}, init_scale {spec.init_scale:g}) where the table has "
                f"{existing.vocabulary_size:,} of {existing.embedding_dim} ({before}, init_scale "
                f"{existing.init_scale:g}): make both features alike, min_count included"
            )
            return
        self.specs[name], self.asked[name] = spec, asked


def _tower(
    tower: QueryConfig | CandidateConfig,
    model: ModelConfig,
    columns: Mapping[str, tuple[object, ...]],
    tables: _Tables,
    items_width: int,
    events: Mapping[str, tuple[RowsColumn, ...]] = MappingProxyType({}),
) -> TowerSpec:
    side = "query" if isinstance(tower, QueryConfig) else "candidate"
    inputs = []
    for entry in tower.features:
        for column in columns[entry.feature.output_name]:
            if isinstance(column, RowsColumn):
                embedding = entry.embedding
                name = embedding.table or f"{side}/{column.name}"
                tables.add(name, column, embedding)
                inputs.append(
                    InputSpec(
                        column=column.name,
                        width=embedding.dim,
                        table=name,
                        pooling=(embedding.pooling or "mean") if column.ragged and embedding.encoder is None else None,
                        id_dropout=_id_dropout(entry),
                        value_dropout=embedding.value_dropout if column.ragged else 0.0,
                        encoder=embedding.encoder,
                        max_length=entry.feature.max_length if isinstance(entry.feature, SequenceFeature) else None,
                        request_time=isinstance(entry.feature, SequenceFeature) and entry.feature.request_time,
                        events=events.get(column.name, ()),
                    )
                )
            elif isinstance(column, ItemsColumn):
                embedding = entry.embedding
                inputs.append(
                    InputSpec(
                        column=column.name,
                        width=items_width,
                        pooling=(embedding.pooling or "mean") if embedding.encoder is None else None,
                        value_dropout=embedding.value_dropout,
                        encoder=embedding.encoder,
                        max_length=entry.feature.max_length if isinstance(entry.feature, SequenceFeature) else None,
                        items="candidate",
                    )
                )
            else:
                inputs.append(InputSpec(column=column.name, width=column.width))  # type: ignore[attr-defined]
    return TowerSpec(
        inputs=tuple(inputs),
        layer_sizes=model.layer_sizes if tower.layer_sizes is None else tower.layer_sizes,
        activation=model.activation,
        init=model.init,
        input_dropout=model.input_dropout if tower.input_dropout is None else tower.input_dropout,
        hidden_dropout=model.hidden_dropout if tower.hidden_dropout is None else tower.hidden_dropout,
        layer_norm=model.layer_norm,
        l2_normalise=model.l2_normalise,
        skip=tower.skip,
    )


def _candidate_width(recipe: Recipe, columns: FittedColumns) -> int:
    """Width of the vectors that the candidate tower will give."""
    sizes = recipe.model.layer_sizes if recipe.candidate.layer_sizes is None else recipe.candidate.layer_sizes
    if sizes:
        return sizes[-1]
    return sum(
        column.width if isinstance(column, FloatsColumn) else entry.embedding.dim
        for entry in recipe.candidate.features
        for column in columns.candidate[entry.feature.output_name]
    )


def _id_dropout(entry: FeatureEntry) -> float:
    if entry.embedding.id_dropout is not None:
        return entry.embedding.id_dropout
    return _ID_DROPOUT if entry.feature.kind in WITH_UNKNOWN_ROW else 0.0


def _vocabulary_faults(recipe: Recipe, preprocessor: Preprocessor) -> list[str]:
    """Tables that are shared by features whose rows mean different things."""
    spec = preprocessor.spec
    lookups = {
        f.config.output_name: getattr(f, "lookup", None) for f in (*spec.user, *spec.context, *spec.history, *spec.candidate)
    }
    sharing: dict[str, list[FeatureEntry]] = {}
    for entry in (*recipe.query.features, *recipe.candidate.features):
        if entry.embedding.table is not None:
            sharing.setdefault(entry.embedding.table, []).append(entry)
    faults = []
    for table, entries in sharing.items():
        first, *others = (entry.feature.output_name for entry in entries)
        faults += [
            f"features {first!r} and {other!r} share the embedding table {table!r} but have different vocabularies; "
            "only features of the same ids can share one"
            for other in others
            if lookups[first] is None or lookups[other] != lookups[first]
        ]
    return faults
