"""What every feature is worth, how much of it is unknown, and how much there is to learn it from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data import Examples
from twotower.diagnosis import IdTableLoad, Importance, Importances, NotMade, TrainingData, UnknownValues, idle
from twotower.evaluation import encode_catalogue
from twotower.metrics import bootstrap_interval
from twotower.models import TwoTower
from twotower.preprocessing import Preprocessor
from twotower.runs.feature_entry import WITH_UNKNOWN_ROW
from twotower.runs.phase import Phase
from twotower.runs.probe import CPU, Headline, Probe, VectorScorer, encode_rows
from twotower.runs.recipe import Recipe
from twotower.spec import InputSpec
from twotower.types import Column, Events, QueryColumn, Ragged, take_column

__all__ = ["feature_columns", "importances", "only_ids", "training_data", "unknown_values"]

_PERMUTATIONS = 3
_MOST_ROWS = 5_000


@dataclass(frozen=True)
class _Feature:
    """A feature and its encoded columns."""

    name: str
    tower: str
    kind: str
    columns: tuple[str, ...]


def feature_columns(preprocessor: Preprocessor) -> tuple[_Feature, ...]:
    """Every feature of both towers, in the order of the recipe."""
    spec = preprocessor.spec
    query = {f.config.output_name: f for f in (*spec.user, *spec.context, *spec.history)}
    fitted = [("query", query[name]) for name in spec.query_order] + [("candidate", f) for f in spec.candidate]
    return tuple(
        _Feature(f.config.output_name, tower, f.config.kind, tuple(column.name for column in f.columns)) for tower, f in fitted
    )


def importances(probe: Probe, wanted: Headline) -> Importances | NotMade:
    """Let the values of each feature change places, and judge again.

    Values of a query feature change places among the rows, those of a candidate feature among the items of the catalogue; the
    columns of one feature move together. Each figure is the mean over three permutations, its interval over users.

    Args:
        probe: Validation rows that are new to the model; test rows are refused, since nothing may be chosen by them.
        wanted: The figure.
    """
    if probe.of_test:
        return NotMade("there are no validation rows that the model was not trained on, and nothing is chosen on test rows")
    features = feature_columns(probe.phase.preprocessor)
    base = probe.figures(probe.scorer, wanted)

    def worth(group: Sequence[_Feature], name: str, tower: str) -> Importance:
        constant = all(_constant(column) for entry in group for column in _of(entry, probe))
        drops = [base - probe.figures(_permuted(probe, group, seed), wanted) for seed in range(_PERMUTATIONS)]
        found = bootstrap_interval(np.mean(drops, axis=0), probe.users, seed=0)
        return Importance(name, tower, float(found.mean), float(found.low), float(found.high), constant)

    single = tuple(worth([entry], entry.name, entry.tower) for entry in features)
    figure = float(base.mean())
    suspects = [entry for entry, found in zip(features, single, strict=True) if idle(found, figure, len(base))]
    together = worth(suspects, "together", "both") if len(suspects) > 1 else None
    return Importances(wanted.name, figure, len(base), single, together)


def _of(entry: _Feature, probe: Probe) -> list[QueryColumn]:
    source: Mapping[str, QueryColumn] = probe.columns if entry.tower == "query" else probe.phase.items
    return [source[name] for name in entry.columns]


def _constant(column: QueryColumn) -> bool:
    if isinstance(column, Events):
        parts = (column.times, column.asked, *column.columns.values())
        items = column.ragged().items
        assert isinstance(items, Ragged)
        return _constant(items) and all(part is None or _constant(part) for part in parts)
    if isinstance(column, Ragged):
        lengths, values = column.lengths, column.values
        return bool((lengths == lengths[:1]).all()) and bool((values == values[:1]).all())
    return bool((column == column[:1]).all())


def _permuted(probe: Probe, group: Sequence[_Feature], seed: int) -> VectorScorer:
    columns, items = dict(probe.columns), dict(probe.phase.items)
    for entry in group:
        size = len(probe.examples) if entry.tower == "query" else len(probe.phase.catalogue)
        places = torch.from_numpy(np.random.default_rng(seed).permutation(size))
        if entry.tower == "query":
            columns |= {name: take_column(columns[name], places) for name in entry.columns}
        else:
            items |= {name: take_column(items[name], places) for name in entry.columns}
    towers = {entry.tower for entry in group}
    # what histories read of the items changes with them
    reads_items = bool(probe.model.item_columns)
    items_ND = encode_catalogue(probe.model, items, device=CPU) if "candidate" in towers else probe.scorer.items_ND.float()
    anew = "query" in towers or reads_items
    queries_QD = encode_rows(probe.model, columns, items_ND) if anew else probe.scorer.queries_QD
    return VectorScorer(queries_QD, items_ND)


def unknown_values(model: TwoTower, phase: Phase, test: NDArray[np.int64]) -> tuple[UnknownValues, ...]:
    """How often each feature with a row of unknown values meets it.

    Args:
        model: Its spec says which tables are shared.
        phase: What it was fitted on.
        test: Row numbers of the test rows.
    """
    examples = phase.examples(_some(test), grow=phase.grows)
    train_rows = torch.from_numpy(_some(np.arange(len(phase.train))))
    of_test, of_train = _unknown_shares(examples, phase, None), _unknown_shares(phase.train, phase, train_rows)
    # of a history whose items are the candidate's vectors, no row is unknown
    of_items = model.item_columns
    features = [
        entry
        for entry in feature_columns(phase.preprocessor)
        if entry.kind in WITH_UNKNOWN_ROW and not (entry.tower == "query" and entry.columns[0] in of_items)
    ]
    inputs = {
        (tower, entry.column): entry
        for tower, spec in (("query", model.spec.query), ("candidate", model.spec.candidate))
        for entry in spec.inputs
    }
    trained: dict[str | None, bool] = {}
    for entry in features:
        key = (entry.tower, entry.columns[-1])  # of a place, the fine cells
        used: InputSpec | None = inputs.get(key)
        if used is not None:
            trained[used.table] = trained.get(used.table, False) or used.id_dropout > 0 or of_train[key] > 0
    return tuple(
        UnknownValues(entry.name, entry.tower, of_test[key], of_train[key], trained[inputs[key].table])
        for entry in features
        if (key := (entry.tower, entry.columns[-1])) in inputs
    )


def _unknown_shares(examples: Examples, phase: Phase, rows: Tensor | None) -> dict[tuple[str, str], float]:
    chosen = torch.arange(len(examples)) if rows is None else rows
    queries = examples.queries(chosen, training=rows is not None)
    items = examples.item_rows[chosen]
    known = items[items >= 0]
    shares = {("query", name): _zeros(column) for name, column in queries.items()}
    return shares | {("candidate", name): _zeros(take_column(column, known)) for name, column in phase.items.items()}


def _zeros(column: QueryColumn) -> float:
    if isinstance(column, Events):
        return _zeros(column.items.values if isinstance(column.items, Ragged) else column.items.sequences.values)
    values = column.values if isinstance(column, Ragged) else column
    return float((values == 0).double().mean()) if values.numel() and not values.is_floating_point() else 0.0


def training_data(recipe: Recipe, model: TwoTower, phase: Phase) -> TrainingData:
    """Tables of ids with the train rows that read them, and the part of the catalogue that none reads."""
    spec = phase.preprocessor.spec
    users, items = phase.train.user_rows, phase.train.item_rows
    everything = torch.arange(len(phase.train))
    sources: dict[str, Callable[[str], Column]] = {
        **{f.config.output_name: lambda name: take_column(phase.users[name], users) for f in spec.user},
        **{f.config.output_name: lambda name: take_column(phase.train.context[name], everything) for f in spec.context},
    }
    widths = {
        (tower, entry.column): entry.width
        for tower, side in (("query", model.spec.query), ("candidate", model.spec.candidate))
        for entry in side.inputs
    }
    tables = []
    for entry in feature_columns(phase.preprocessor):
        name = entry.columns[0]
        if entry.kind != "id" or (entry.tower, name) not in widths:
            continue
        rows = take_column(phase.items[name], items) if entry.tower == "candidate" else sources[entry.name](name)
        assert isinstance(rows, Tensor)
        read = rows[rows > 0]
        tables.append(
            IdTableLoad(
                entry.name, entry.tower, int(torch.bincount(read).count_nonzero()), widths[(entry.tower, name)], len(read)
            )
        )
    return TrainingData(
        tables=tuple(tables),
        catalogue=len(phase.catalogue),
        untrained=int((phase.item_counts == 0).sum()),
        only_item_ids=only_ids(recipe, phase, "candidate"),
    )


def only_ids(recipe: Recipe, phase: Phase, tower: str) -> bool:
    """Whether a tower reads nothing but the id of the user or of the item."""
    schema = phase.tables.interactions.schema
    features, column = (recipe.query.features, schema.user) if tower == "query" else (recipe.candidate.features, schema.item)
    return all(entry.feature.kind == "id" and getattr(entry.feature, "column", None) == column for entry in features)


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows if len(rows) <= _MOST_ROWS else np.sort(np.random.default_rng(0).choice(rows, _MOST_ROWS, replace=False))
