"""Which tables are updated by their touched rows: what a recipe says, or the measured rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from twotower.data import Batches
from twotower.models import rows_read
from twotower.optim import rows_pay
from twotower.optim.rows_pay import LEAST_NUMBERS, ROWS_PER_TOUCHED
from twotower.runs.feature_entry import AskedUpdate
from twotower.runs.propagation_config import propagated_tables
from twotower.runs.recipe import Recipe
from twotower.runs.split_tables import would_be_split
from twotower.spec import InputSpec, ModelSpec, TableSpec
from twotower.training import resolve_device
from twotower.types import Events, Features, Prefixes, QueryFeatures, Ragged, column_length, take_column

__all__ = ["TableUpdate", "TouchedRows", "decide_updates", "with_updates"]


@dataclass(frozen=True)
class TableUpdate:
    """How a table is updated, and why.

    Attributes:
        spec: The table, ``update`` decided.
        why: In a few words.
    """

    spec: TableSpec
    why: str


class TouchedRows:
    """How many rows of each table a batch touches: counted in the first one of the first epoch.

    Args:
        spec: Says which columns look up which table.
        batches: The feed.
        items: Features of the whole catalogue.
    """

    def __init__(self, spec: ModelSpec, batches: Batches, items: Features) -> None:
        self.spec = spec
        self.batches = batches
        self.items = items

    def __call__(self, table: str) -> int:
        """Distinct rows of a table."""
        values = [
            *_values(self.spec.query.inputs, table, self._queries),
            *_values(self.spec.candidate.inputs, table, self._items),
        ]
        return int(torch.unique(torch.cat(values)).numel()) if values else 0

    @property
    def candidates(self) -> int:
        """Items that compete for a batch."""
        rows = self._first[1]
        return column_length(next(iter(self.items.values()))) if rows is None else len(rows)

    @cached_property
    def _first(self) -> tuple[QueryFeatures, Tensor | None]:
        # the first one whose queue is full
        batch = self.batches.batch(0, min(self.batches.queue_batches, len(self.batches) - 1))
        return batch.queries, batch.candidate_rows

    @property
    def _queries(self) -> QueryFeatures:
        return self._first[0]

    @cached_property
    def _items(self) -> Features:
        rows = self._first[1]
        if rows is None:
            return self.items
        read = [entry.column for entry in self.spec.query.inputs if entry.items is not None]
        if read:
            rows = torch.cat([rows, rows_read(self._queries, read)])
        return {name: take_column(column, rows) for name, column in self.items.items()}


def decide_updates(
    recipe: Recipe, spec: ModelSpec, asked: Mapping[str, AskedUpdate], touched: Callable[[str], int]
) -> list[TableUpdate]:
    """Decide for every table, in the order of the spec.

    What the recipe says holds. Otherwise a table is updated by rows where the result is that of dense updates (so never beside
    AdamW, whose tables of row updates are Adagrad's, nor with a decay, which is of every row) and `rows_pay` says so. A table
    that is propagated is dense; one that several ranks would share is updated by rows, however many there are.

    Args:
        recipe: Optimiser and device.
        spec: As `model_spec` gives it.
        asked: As `asked_updates` gives it.
        touched: A `TouchedRows`; is asked of the tables that the rule is about, and no others.
    """
    held, propagated = _what_holds(recipe), propagated_tables(recipe)
    found = []
    update: AskedUpdate
    for table in spec.tables:
        if asked[table.name] != "auto":
            update, why = asked[table.name], "the recipe says so"
        elif table.name in propagated:
            update, why = "dense", "propagation gives every row a gradient"
        elif would_be_split(recipe, table):
            update, why = "rows", f"training.sharding = {recipe.training.sharding!r} splits it where there are several ranks"
        elif not rows_pay(table.vocabulary_size, table.embedding_dim, 0):
            update, why = "dense", f"less than {LEAST_NUMBERS:,} numbers"
        elif held is not None:
            update, why = "dense", held
        else:
            update, why = _by_rule(table, touched)
        found.append(TableUpdate(table.model_copy(update={"update": update}), why))
    return found


def with_updates(spec: ModelSpec, updates: Iterable[TableUpdate]) -> ModelSpec:
    """The spec with its tables as they were decided on."""
    return spec.model_copy(update={"tables": tuple(update.spec for update in updates)})


def _what_holds(recipe: Recipe) -> str | None:
    """Why no table is updated by rows unless the recipe says so; None: nothing stands against it."""
    optimizer = recipe.training.optimizer
    if optimizer.kind == "adamw":
        return "AdamW moves every row at every step"
    if optimizer.weight_decay > 0:
        return "weight_decay is of every row"
    if optimizer.sparse_learning_rate is not None and optimizer.sparse_learning_rate != optimizer.learning_rate:
        return "tables of row updates would learn at sparse_learning_rate"
    if recipe.device == "mps" or (recipe.device == "auto" and resolve_device("auto").type == "mps"):
        return "sparse gradients were never tried on MPS"
    return None


def _by_rule(table: TableSpec, touched: Callable[[str], int]) -> tuple[AskedUpdate, str]:
    count = touched(table.name)
    pays = rows_pay(table.vocabulary_size, table.embedding_dim, count)
    sign = "at least" if pays else "less than"
    return ("rows" if pays else "dense"), f"{sign} {ROWS_PER_TOUCHED} rows for each that a batch touches"


def _values(inputs: Iterable[InputSpec], table: str, columns: QueryFeatures) -> Iterator[Tensor]:
    for entry in inputs:
        if entry.table == table:
            column = columns[entry.column]
            if isinstance(column, Events):
                column = column.items
            if isinstance(column, Prefixes):
                column = column.sequences
            yield (column.values if isinstance(column, Ragged) else column).to(torch.int64)
