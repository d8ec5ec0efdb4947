"""From a recipe and the size of its data to what is planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from twotower.planning import Encoder, Table, Tower, Workload, distinct
from twotower.preprocessing import HistoryFeature, IdFeature, SequenceFeature
from twotower.runs.build_loss import build_loss
from twotower.runs.model_spec import spec_of_columns
from twotower.runs.plan_sizes import PlanSizes
from twotower.runs.propagation_config import propagated_tables
from twotower.runs.recipe import Recipe
from twotower.runs.table_updates import decide_updates
from twotower.spec import (
    AttentionEncoderSpec,
    GRUEncoderSpec,
    HSTUEncoderSpec,
    InputSpec,
    ModelSpec,
    TableSpec,
    TowerSpec,
    TransformerEncoderSpec,
)

__all__ = ["plan_workload"]


def plan_workload(recipe: Recipe, sizes: PlanSizes) -> Workload:
    """All that memory, traffic and time of a recipe follow from.

    Args:
        recipe: Towers, tables, loss, batches.
        sizes: Of its data.

    Raises:
        ConfigError: If inputs that share a table do not have the same size.
    """
    spec, asked = spec_of_columns(recipe, sizes.columns)
    config = recipe.loss
    loss = build_loss(config, catalogue_size=sizes.items, batch_size=recipe.training.batch_size)
    sampled = "uniform" if loss.uniform_negatives else "in_batch"
    batch = min(recipe.training.batch_size, sizes.rows)
    draws = batch * (1 + config.queue_batches) + config.extra_negatives
    competing = sizes.items if loss.needs_full_catalogue else distinct(draws, sizes.items)

    def ids(inputs: tuple[InputSpec, ...], table: str) -> float:
        return sum(sizes.lengths.get(entry.column, 1.0) for entry in inputs if entry.table == table)

    def touched(table: str) -> int:
        rows = next(each.vocabulary_size for each in spec.tables if each.name == table)
        looked_up = ids(spec.query.inputs, table) * batch + ids(spec.candidate.inputs, table) * competing
        return round(distinct(looked_up, rows))

    updates = {update.spec.name: update.spec for update in decide_updates(recipe, spec, asked, touched)}
    of, propagated = _of(recipe, spec), propagated_tables(recipe)
    tables = tuple(
        Table(
            name=table.name,
            rows=table.vocabulary_size,
            width=table.embedding_dim,
            query_ids=ids(spec.query.inputs, table.name),
            candidate_ids=ids(spec.candidate.inputs, table.name),
            by_rows=updates[table.name].update == "rows",
            **_states(recipe, updates[table.name]),
            of=of.get(table.name),
            whole=asked[table.name] == "dense" or table.name in propagated,
        )
        for table in spec.tables
    )
    read = [*_lengths(spec.query, sizes.lengths)]
    return Workload(
        name=recipe.name,
        rows=sizes.rows,
        users=sizes.users,
        items=sizes.items,
        batch_size=batch,
        vector_width=spec.candidate.output_width,
        tables=tables,
        query=_tower(spec.query, sizes.lengths),
        candidate=_tower(spec.candidate, sizes.lengths),
        candidates="catalogue" if loss.needs_full_catalogue else sampled,  # type: ignore[arg-type]
        extra_negatives=config.extra_negatives,
        queue_batches=config.queue_batches,
        products_in=config.precision,
        state_per_dense={"adagrad": 1, "adamw": 2, "rowwise_adagrad": 1}[recipe.training.optimizer.kind],
        epochs=recipe.training.epochs,
        # user, item, position, and each column: its values, and where they begin
        row_bytes=16 + sum(4 * length + (8 if length != 1 else 0) for length in read),
        columns=3 + len(read),
        memory_row_bytes=sizes.memory_row_bytes,
        file_row_bytes=sizes.file_row_bytes,
        history_bytes=sizes.history_bytes,
        user_bytes=sizes.user_bytes,
        item_bytes=sizes.item_bytes,
        batch_row_bytes=32 + sum(16 * length + 16 for length in read),
        notes=sizes.notes,
    )


def _lengths(tower: TowerSpec, lengths: Mapping[str, float]) -> list[float]:
    return [lengths.get(entry.column, 1.0 if entry.table is not None else float(entry.width)) for entry in tower.inputs]


def _of(recipe: Recipe, spec: ModelSpec) -> dict[str, Literal["users", "items"]]:
    """Tables whose rows are users or items."""
    schema = recipe.data.columns
    features = {entry.feature.output_name: entry.feature for entry in (*recipe.query.features, *recipe.candidate.features)}
    found: dict[str, Literal["users", "items"]] = {}
    for entry in (*spec.query.inputs, *spec.candidate.inputs):
        feature = features.get(entry.column)
        if entry.table is None or feature is None:
            continue
        if isinstance(feature, HistoryFeature | SequenceFeature) or (
            isinstance(feature, IdFeature) and feature.column == schema.item
        ):
            found[entry.table] = "items"
        elif isinstance(feature, IdFeature) and feature.column == schema.user:
            found[entry.table] = "users"
    return found


def _states(recipe: Recipe, table: TableSpec) -> dict[str, int]:
    """Numbers that the optimiser keeps, for each number and for each row of a table."""
    config = recipe.training.optimizer
    if table.update == "dense":
        per_number = {"adagrad": 1, "adamw": 2, "rowwise_adagrad": 0}[config.kind]
        return {"state_per_number": per_number, "state_per_row": int(config.kind == "rowwise_adagrad")}
    if config.kind == "adagrad":
        return {"state_per_number": 1, "state_per_row": 0}
    if config.kind == "adamw" and config.sparse_kind == "lazy_adam":
        return {"state_per_number": 2, "state_per_row": 0}
    return {"state_per_number": 0, "state_per_row": 1}


def _tower(tower: TowerSpec, lengths: Mapping[str, float]) -> Tower:
    return Tower(
        input_width=tower.input_width,
        layer_sizes=tower.layer_sizes,
        normed=tower.layer_norm,
        encoders=tuple(_encoder(entry, lengths.get(entry.column, 1.0)) for entry in tower.inputs if entry.encoder is not None),
    )


def _encoder(entry: InputSpec, length: float) -> Encoder:
    """Matrices of a block, in squares of its width: attention has four, a layer and back twice ``hidden``, HSTU five."""
    width, spec = entry.width, entry.encoder
    match spec:
        case TransformerEncoderSpec():
            squares, kept, span = spec.blocks * (4 + 2 * spec.hidden), spec.blocks * (8 + 2 * spec.hidden), length * spec.blocks
        case HSTUEncoderSpec():
            squares, kept, span = spec.blocks * 5, spec.blocks * 10, length * spec.blocks
        case GRUEncoderSpec():
            squares, kept, span = spec.layers * 6, spec.layers * 8, 0.0
        case AttentionEncoderSpec():
            return Encoder(width, length, length, width * (spec.hidden or width), 2 * width)
        case _:
            raise ValueError(f"{entry.column!r} has no encoder")
    return Encoder(width, length, span, squares * width * width, kept * width)
