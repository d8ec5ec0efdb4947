"""The one constructor of models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from twotower.errors import ConfigError
from twotower.models.heads import build_head
from twotower.models.tower import Tower
from twotower.models.two_tower import TwoTower
from twotower.nn import MLP, DistantTables, EmbeddingCollection, SequenceEncoder, build_encoder
from twotower.spec import ColumnSpec, ItemsColumn, ModelSpec, RowsColumn, TowerSpec

__all__ = ["ModelBuilder", "build", "builder_name", "check_columns"]


class ModelBuilder(Protocol):
    """What builds a model from a spec: `build`, or a function of one's own that puts other towers into a `TwoTower`.

    It is passed from Python when training and again when loading; a bundle remembers only its name, to refuse another one.
    """

    def __call__(self, spec: ModelSpec, *, seed: int) -> TwoTower:
        """Build a model with fresh weights; the same seed gives the same weights."""
        ...


def builder_name(builder: ModelBuilder) -> str:
    """The name that a bundle remembers a builder by."""
    return f"{getattr(builder, '__module__', '?')}.{getattr(builder, '__qualname__', type(builder).__qualname__)}"


def build(spec: ModelSpec, *, seed: int, distant: DistantTables | None = None) -> TwoTower:
    """Build a model with fresh weights: tables first, then the layers of the query tower and the candidate's, encoders, heads.

    Heads come last, so that a model with them starts with the same towers as one without.

    Args:
        spec: Tables, towers, whether they share layers, and heads.
        seed: Of the initial weights; torch's global state is neither read nor changed.
        distant: What holds some of the tables in the model's place, such as `twotower.distributed.ShardedTables`; all weights
            start as they do without.

    Raises:
        ConfigError: If the towers' outputs differ in width, an input names a table that is not there, widths disagree,
            towers that share layers describe different ones, or two heads have one name; all faults at once.

    Example:
        >>> from twotower.spec import InputSpec, TableSpec
        >>> tables = [TableSpec(name=name, vocabulary_size=9, embedding_dim=4) for name in ("user", "item")]
        >>> user, item = (TowerSpec(inputs=(InputSpec(column=t.name, width=4, table=t.name),)) for t in tables)
        >>> model = build(ModelSpec(tables=tuple(tables), query=user, candidate=item), seed=1)
        >>> model.encode_queries({"user": torch.tensor([3, 0])}).shape
        torch.Size([2, 4])
    """
    faults = _faults(spec)
    if faults:
        raise ConfigError(faults, source="model")
    generator = torch.Generator().manual_seed(seed)
    embeddings = EmbeddingCollection(spec.tables, generator=generator, distant=distant)
    query_layers = _layers(spec.query, generator)
    candidate_layers = query_layers if spec.share_layers else _layers(spec.candidate, generator)
    query = Tower(spec.query, embeddings, query_layers, _encoders(spec.query, generator))
    candidate = Tower(spec.candidate, embeddings, candidate_layers, _encoders(spec.candidate, generator))
    heads = [build_head(head, spec.query.output_width, generator=generator) for head in spec.heads]
    return TwoTower(spec, embeddings, query, candidate, heads)


def check_columns(tower: TowerSpec, columns: Iterable[ColumnSpec], *, name: str) -> None:
    """Make sure that a tower's inputs are what preprocessing gives.

    Args:
        tower: The tower.
        columns: Those that its rows will have.
        name: What to call the tower in an error.

    Raises:
        ConfigError: Naming every input that is missing or of another kind.
    """
    given = {column.name: column for column in columns}
    faults = []
    for entry in tower.inputs:
        column = given.get(entry.column)
        if column is None:
            faults.append(f"{name} tower: no column {entry.column!r}; preprocessing gives {', '.join(sorted(given))}")
        elif isinstance(column, ItemsColumn) or entry.items is not None:
            if not isinstance(column, ItemsColumn) or entry.items is None:
                wanted = "rows of a table or floats" if entry.items is None else "items"
                faults.append(f"{name} tower: column {entry.column!r} holds {column.kind}, its input expects {wanted}")
        elif entry.encoder is not None and not (isinstance(column, RowsColumn) and column.ragged):
            faults.append(f"{name} tower: column {entry.column!r} holds one value a row, its encoder reads sequences")
        elif isinstance(column, RowsColumn) != (entry.table is not None):
            wanted = "floats" if entry.table is None else "rows"
            faults.append(f"{name} tower: column {entry.column!r} holds {column.kind}, its input expects {wanted}")
    if faults:
        raise ConfigError(faults, source="model")


def _encoders(tower: TowerSpec, generator: torch.Generator) -> dict[str, SequenceEncoder]:
    return {
        entry.column: build_encoder(
            entry.encoder,
            entry.width,
            entry.max_length,
            generator=generator,
            request_time=entry.request_time,
            events=entry.events,
        )
        for entry in tower.inputs
        if entry.encoder is not None and entry.max_length is not None
    }


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
    heads = [head.name for head in spec.heads]
    faults += [
        f"every head needs a name of its own; {name!r} came twice" for name in sorted({n for n in heads if heads.count(n) > 1})
    ]
    for name, tower in (("query", spec.query), ("candidate", spec.candidate)):
        columns = [entry.column for entry in tower.inputs]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            faults.append(f"{name}: every input reads a column of its own; {', '.join(twice)} came twice")
        for entry in tower.inputs:
            if entry.items is not None and name == "candidate":
                faults.append(f"{name}.{entry.column}: only a query reads items as the candidate tower gives them")
            elif entry.items is not None and entry.width != spec.candidate.output_width:
                faults.append(
                    f"{name}.{entry.column}: width {entry.width}, but the candidate tower, whose vectors it reads, gives "
                    f"{spec.candidate.output_width}"
                )
            if entry.table is None:
                continue
            if entry.table not in tables:
                faults.append(f"{name}.{entry.column}: no table {entry.table!r}; there are {', '.join(sorted(tables))}")
            elif tables[entry.table].embedding_dim != entry.width:
                width = tables[entry.table].embedding_dim
                faults.append(f"{name}.{entry.column}: width {entry.width}, but table {entry.table!r} is {width} wide")
        for skip in tower.skip:
            widths = [entry.width for entry in tower.inputs if entry.column == skip and (entry.table or entry.items)]
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
    if spec.share_layers:
        names = ("input_width", "layer_sizes", "activation", "init", "hidden_dropout", "layer_norm")
        differ = [name for name in names if getattr(spec.query, name) != getattr(spec.candidate, name)]
        faults += [
            f"towers that share layers need the same {name}; query has {getattr(spec.query, name)!r}, "
            f"candidate {getattr(spec.candidate, name)!r}"
            for name in differ
        ]
    return faults
