"""How large a training's data is: read from the recipe's tables, as asked for, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from twotower.columnar import Converting
from twotower.errors import ConfigError, nearest
from twotower.preprocessing import HistoryFeature, SequenceFeature
from twotower.runs.mapped import stored_bytes
from twotower.runs.model_spec import FittedColumns, fitted_columns
from twotower.runs.phase import Phase, fit_phase
from twotower.runs.plan_columns import assume_columns, grown_columns, mean_history
from twotower.runs.recipe import Recipe
from twotower.runs.tables import load_tables
from twotower.types import Coded, Column, Events, Prefixes, QueryColumn, Ragged, StoredColumn

__all__ = ["AskedSizes", "PlanSizes", "plan_sizes"]

_LOOKED_AT = 4096


@dataclass(frozen=True)
class AskedSizes:
    """What a plan is asked for; None: as it is in the tables.

    Attributes:
        rows: Of the log that are trained on.
        users: Known ones.
        items: Of the catalogue.
        lengths: Values of a row, on average, by name of the feature.
        vocabularies: Values of a feature, by name, where no table is read.
        read: Whether the recipe's tables are read where they are there.
    """

    rows: int | None = None
    users: int | None = None
    items: int | None = None
    lengths: Mapping[str, float] | None = None
    vocabularies: Mapping[str, int] | None = None
    read: bool = True


@dataclass(frozen=True)
class PlanSizes:
    """How large the data is.

    Attributes:
        rows: That are trained on.
        users: Known ones.
        items: Of the catalogue.
        columns: What features are encoded as.
        lengths: Values of a row, on average, by name of the column; what is not named has one.
        memory_row_bytes: Held in memory for each trained row.
        file_row_bytes: Of each in mapped files.
        history_bytes: For each entry of the histories.
        user_bytes: For each user.
        item_bytes: For each item.
        notes: Where the numbers are from, in sentences.
    """

    rows: int
    users: int
    items: int
    columns: FittedColumns
    lengths: Mapping[str, float]
    memory_row_bytes: float
    file_row_bytes: float
    history_bytes: float
    user_bytes: float
    item_bytes: float
    notes: tuple[str, ...]


def plan_sizes(recipe: Recipe, asked: AskedSizes, listener: Callable[[Converting], None] | None = None) -> PlanSizes:
    """Find out how large the data is.

    Args:
        recipe: Its tables are read where they are there, and features are fitted, as a training would.
        asked: What is planned for in place of what is there.
        listener: Is told how far the conversion of a table is.

    Raises:
        ConfigError: If a number is none, or nothing is there to be read and rows, users or items are not given.
        DataError: If a table does not hold what the recipe says.
    """
    _check(asked)
    found = _from_tables(recipe, asked, listener) if asked.read and _is_there(recipe) else _from_nothing(recipe, asked)
    lengths = dict(asked.lengths or {})
    wrong = sorted(set(lengths) - set(found.lengths))
    if wrong:
        raise ConfigError(f"--mean-length {wrong[0]}: no text, list or history of that name{nearest(wrong[0], found.lengths)}")
    return replace(found, lengths={**found.lengths, **lengths})


def _check(asked: AskedSizes) -> None:
    sizes = {"--rows": asked.rows, "--users": asked.users, "--items": asked.items}
    faults = [
        f"{name} {value}: must be from 1 to 1e15"
        for name, value in sizes.items()
        if value is not None and not 1 <= value <= 10**15
    ]
    faults += [
        f"--mean-length {name}={value}: must be at least 0" for name, value in (asked.lengths or {}).items() if not value >= 0
    ]
    faults += [
        f"--vocabulary {name}={value}: must be at least 1" for name, value in (asked.vocabularies or {}).items() if value < 1
    ]
    if faults:
        raise ConfigError(faults)


def _is_there(recipe: Recipe) -> bool:
    """Whether there is something to read: a data set, a table that is not a file of this machine, or one that is there."""
    data = recipe.data
    if data.dataset is not None:
        return True
    if data.interactions is None:
        return False
    path = data.interactions.path
    return "://" in path or any(sign in path for sign in "*?[") or Path(path).exists()


def _from_nothing(recipe: Recipe, asked: AskedSizes) -> PlanSizes:
    if asked.rows is None or asked.users is None or asked.items is None:
        sizes = {"--rows": asked.rows, "--users": asked.users, "--items": asked.items}
        missing = ", ".join(name for name, value in sizes.items() if value is None)
        table = recipe.data.interactions
        where = "the recipe names no table" if table is None else f"there is no table at {table.path}"
        where = where if asked.read else "no table is read (--no-read)"
        raise ConfigError(f"{where}: say how large the data is with {missing}")
    rows, users, items = asked.rows, asked.users, asked.items
    found = assume_columns(recipe, rows=rows, users=users, items=items, vocabularies=asked.vocabularies)
    schema = recipe.data.columns
    timed = 8 if schema.time is not None else 0
    of_rows = 4.0 * sum(len(of) for name, of in found.columns.query.items()) + (4 if schema.weight else 0)
    return PlanSizes(
        rows=rows,
        users=users,
        items=items,
        columns=found.columns,
        lengths=found.lengths,
        # user, item, position; the log itself lies in mapped files
        memory_row_bytes=16.0,
        file_row_bytes=of_rows + 8 + timed,
        history_bytes=5.0 + timed,
        user_bytes=8.0 + 4 * len(found.columns.query),
        item_bytes=12.0 + 4 * sum(found.lengths.get(name, 1.0) for name in found.columns.candidate),
        notes=(f"no table was read: {rows:,} rows, {users:,} users, {items:,} items as given", *found.notes),
    )


def _from_tables(recipe: Recipe, asked: AskedSizes, listener: Callable[[Converting], None] | None) -> PlanSizes:
    if asked.vocabularies:
        raise ConfigError(
            "--vocabulary: the tables are there and say how many values each feature has; leave it out, or give --no-read"
        )
    tables = load_tables(recipe, listener=listener)
    phase = fit_phase(recipe, tables, tables.split.train)
    there = (len(phase.train), len(tables.user_ids), len(phase.catalogue))
    rows, users, items = (value if value is not None else found for value, found in zip(_asked(asked), there, strict=True))
    columns = fitted_columns(phase.preprocessor)
    notes = [f"read: {there[0]:,} train rows, {there[1]:,} users, {there[2]:,} items"]
    lengths = _lengths(phase)
    if (rows, users, items) != there:
        notes.append(
            f"planned for {rows:,} rows, {users:,} users, {items:,} items: vocabularies of their ids grow in proportion"
        )
        columns = grown_columns(recipe, columns, users=users / there[1], items=items / there[2])
        for entry in recipe.query.features:
            if isinstance(entry.feature, HistoryFeature | SequenceFeature):
                name = entry.feature.output_name
                before, after = (mean_history(*sizes, entry.feature) for sizes in ((there[0], there[1]), (rows, users)))
                most = entry.feature.max_length or lengths[name] * after
                lengths[name] = min(float(most), lengths[name] * after / before) if before else after
        notes.append("histories grow with the rows of a user")
    return PlanSizes(rows, users, items, columns, lengths, *_bytes(phase), tuple(notes))


def _asked(asked: AskedSizes) -> tuple[int | None, int | None, int | None]:
    return asked.rows, asked.users, asked.items


def _lengths(phase: Phase) -> dict[str, float]:
    """Values of a row in columns that hold any number, over some rows of the train rows and over some items."""
    examples = phase.train
    rows = torch.linspace(0, len(examples) - 1, min(len(examples), _LOOKED_AT), dtype=torch.float64).long()
    found: dict[str, float] = {}
    for name, column in examples.queries(rows, training=True).items():
        ragged = _ragged(column)
        if ragged is not None:
            found[name] = float(ragged.lengths.double().mean())
    for name, of in phase.items.items():
        if isinstance(of, Ragged):
            found[name] = float(of.lengths.double().mean())
    return found


def _ragged(column: QueryColumn | Prefixes) -> Ragged | None:
    if isinstance(column, Events):
        return _ragged(column.items)
    if isinstance(column, Prefixes):
        return column.sequences
    return column if isinstance(column, Ragged) else None


def _bytes(phase: Phase) -> tuple[float, float, float, float, float]:
    """Of a row in memory and in files, of an entry of the histories, of a user, of an item."""
    examples, tables = phase.train, phase.tables
    given = [tensor for tensor in (examples.weights, examples.times) if tensor is not None]
    frame = tables.interactions.frame
    of_rows = [*_tensors(examples.context), examples.user_rows, examples.item_rows, examples.before, *given]
    in_memory, in_files = stored_bytes(of_rows)
    log = frame.estimated_size() / max(1, len(frame))
    rows, entries = len(examples), max(1, len(examples.histories.item_rows))
    histories = examples.histories
    beside = [tensor for tensor in (histories.times, *histories.columns.values()) if tensor is not None]
    of_entries = sum(map(sum, (stored_bytes([tensor]) for tensor in (histories.item_rows, histories.first, *beside))))
    of_users = sum(stored_bytes([*_tensors(examples.users), histories.offsets]))
    of_items = sum(stored_bytes([*_tensors(phase.items), *(e.lookup for e in examples.history_inputs if e.lookup is not None)]))
    mapped = in_files > 0
    return (
        in_memory / rows + (0.0 if mapped else log) + 8,
        in_files / rows + (log if mapped else 0.0),
        of_entries / entries,
        of_users / len(tables.user_ids),
        of_items / len(phase.catalogue),
    )


def _tensors(columns: Mapping[str, StoredColumn]) -> Iterator[Tensor]:
    waiting: list[StoredColumn | Column] = list(columns.values())
    while waiting:
        column = waiting.pop()
        if isinstance(column, Tensor):
            yield column
        elif isinstance(column, Ragged):
            yield from column
        elif isinstance(column, Coded):
            yield column.codes
            waiting.append(column.values)
