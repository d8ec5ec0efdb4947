"""The one constructor of models."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from twotower.errors import ConfigError
from twotower.models.tower import Tower
from twotower.models.two_tower import TwoTower
from twotower.nn import MLP, EmbeddingCollection
from twotower.spec import ColumnSpec, ModelSpec, RowsColumn, TowerSpec

__all__ = ["build", "check_columns"]


def build(spec: ModelSpec, *, seed: int) -> TwoTower:
    """Build a model with fresh weights.

    Args:
        spec: Tables, towers and whether they share layers.
        seed: Of the initial weights; torch's global state is neither read nor changed.

    Raises:
        ConfigError: If the towers' outputs differ in width, an input names a table that is not there, or widths disagree;
            all faults at once.
    """
    faults = _faults(spec)
    if faults:
        raise ConfigError(faults, source="model")
    generator = torch.Generator().manual_seed(seed)
    embeddings = EmbeddingCollection(spec.tables, generator=generator)
    query_layers = _layers(spec.query, generator)
    candidate_layers = query_layers if spec.share_layers else _layers(spec.candidate, generator)
    query = Tower(spec.query, embeddings, query_layers)
    return TwoTower(spec, embeddings, query, Tower(spec.candidate, embeddings, candidate_layers))


def check_columns(tower: TowerSpec, columns: Iterable[ColumnSpec], *, name: str) -> None:
    """Make sure that a tower's inputs are what preprocessing gives.

    Raises:
        ConfigError: Naming every input that is missing or of another kind.
    """
    given = {column.name: column for column in columns}
    faults = []
    for entry in tower.inputs:
        column = given.get(entry.column)
        if column is None:
            faults.append(f"{name} tower: no column {entry.column!r}; preprocessing gives {', '.join(sorted(given))}")
        elif isinstance(column, RowsColumn) != (entry.table is not None):
            faults.append(f"{name} tower: column {entry.column!r} holds {column.kind}, its input expects the other kind")
    if faults:
        raise ConfigError(faults, source="model")


def _layers(tower: TowerSpec, generator: torch.Generator) -> MLP:
    return MLP(
        tower.input_width,
        tower.layer_sizes,
        activation=tower.activation,
        init=tower.init,
        hidden_dropout=tower.hidden_dropout,
        layer_norm=tower.layer_norm,
        generator=generator,
    )


def _faults(spec: ModelSpec) -> list[str]:
    faults = []
    tables = {table.name: table for table in spec.tables}
    if len(tables) != len(spec.tables):
        faults.append("every table needs a name of its own")
    for name, tower in (("query", spec.query), ("candidate", spec.candidate)):
        for entry in tower.inputs:
            if entry.table is None:
                continue
            if entry.table not in tables:
                faults.append(f"{name}.{entry.column}: no table {entry.table!r}; there are {', '.join(sorted(tables))}")
            elif tables[entry.table].embedding_dim != entry.width:
                width = tables[entry.table].embedding_dim
                faults.append(f"{name}.{entry.column}: width {entry.width}, but table {entry.table!r} is {width} wide")
        for skip in tower.skip:
            widths = [entry.width for entry in tower.inputs if entry.column == skip and entry.table]
            if widths != [tower.output_width]:
                faults.append(
                    f"{name}.skip: {skip!r} must be an embedded input as wide as the output ({tower.output_width}); "
                    f"came {f'one {widths[0]} wide' if widths else 'a name that is not one'}"
                )
    if spec.query.output_width != spec.candidate.output_width:
        faults.append(
            f"both towers must give vectors of one width; query gives {spec.query.output_width}, "
            f"candidate {spec.candidate.output_width}: make the last entry of layer_sizes equal"
        )
    if spec.share_layers and (spec.query.input_width, spec.query.layer_sizes) != (
        spec.candidate.input_width,
        spec.candidate.layer_sizes,
    ):
        faults.append(
            "towers that share layers need equal layer_sizes and inputs of equal width; "
            f"came {spec.query.input_width} -> {list(spec.query.layer_sizes)} and "
            f"{spec.candidate.input_width} -> {list(spec.candidate.layer_sizes)}"
        )
    return faults
