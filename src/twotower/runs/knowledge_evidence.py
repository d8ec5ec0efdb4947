"""What a run knew of its test rows, and when its weights were at their best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data import Examples, HistoryInput
from twotower.diagnosis import Curve, NotMade, TestKnowledge
from twotower.runs.feature_evidence import only_ids
from twotower.runs.load_run import LoadedRun
from twotower.runs.phase import Phase
from twotower.runs.probe import Headline
from twotower.runs.recipe import Recipe
from twotower.training import smaller_is_better
from twotower.types import Events, Ragged

__all__ = ["known_of_test", "validation_curve"]

_MOST_ROWS = 5_000


def known_of_test(loaded: LoadedRun) -> TestKnowledge:
    """Shares of the test rows that training, or a history, knew more of than a served model could."""
    recipe, phase, tables = loaded.recipe, loaded.phase, loaded.tables
    test = tables.split.test
    schema = tables.interactions.schema
    users = tables.user_rows
    times = tables.interactions.times
    later = None
    if times is not None:
        last = np.full(len(tables.user_ids), -np.inf)
        np.maximum.at(last, users[phase.fit_rows], times[phase.fit_rows].astype(np.float64))
        later = float((last[users[test]] > times[test]).mean())
    some = _some(test)
    examples = phase.examples(some, grow=phase.grows)
    train = torch.from_numpy(_some(np.arange(len(phase.train))))
    trained = np.isin(users[test], users[phase.fit_rows])
    items = phase.item_rows[test]
    return TestKnowledge(
        split=recipe.split.kind,
        later_rows=later,
        later_histories=()
        if times is None
        else tuple((entry.name, _later_share(entry, examples, times[some])) for entry in examples.history_inputs),
        time_features=tuple(
            entry.feature.output_name
            for entry in recipe.query.features
            if schema.time is not None
            and (getattr(entry.feature, "column", None) == schema.time or getattr(entry.feature, "request_time", False))
        ),
        fit_on_all=recipe.data.fit_on == "all",
        validate_on_test=recipe.evaluation.validate_on == "test",
        own_in_train=_own_shares(phase.train, train, training=True),
        own_in_test=_own_shares(examples, torch.arange(len(examples)), training=False),
        in_order=tuple(entry.name for entry in examples.history_inputs if entry.in_order),
        cold_users=float((~trained).mean()),
        cold_items=float(((items < 0) | (phase.item_counts[items] == 0)).mean()),
        only_user_ids=only_ids(recipe, phase, "query"),
        only_item_ids=only_ids(recipe, phase, "candidate"),
    )


def _later_share(entry: HistoryInput, examples: Examples, times: NDArray[Any]) -> float:
    """Share of judged rows whose history ends with something later than the row."""
    histories, users = examples.histories, examples.user_rows
    if histories.times is None:
        return 0.0
    in_front = entry.mode == "before" or examples.seen_before
    ends = examples.before if in_front else histories.ends_of(users)
    filled = ends > histories.offsets[users]
    last = histories.times[(ends - 1).clamp(min=0)].double() if len(histories.times) else torch.zeros(len(ends))
    return float((filled & (last > torch.from_numpy(times.astype(np.float64)))).double().mean())


def _own_shares(examples: Examples, rows: Tensor, *, training: bool) -> tuple[tuple[str, float], ...]:
    """By history, the share of rows whose own item is in it; items without a row of their own are told apart from none."""
    columns = examples.queries(rows, training=training)
    items = examples.item_rows[rows]
    found = []
    for entry in examples.history_inputs:
        found_column = columns[entry.name]
        column = found_column.items if isinstance(found_column, Events) else found_column
        assert isinstance(column, Ragged)
        unknown = -1 if entry.lookup is None else 0
        own = torch.where(items >= 0, entry.values(items.clamp(min=0)).long(), unknown)
        owners = torch.repeat_interleave(torch.arange(len(rows)), column.lengths)
        hits = torch.zeros(len(rows), dtype=torch.bool)
        hits[owners[(column.values.long() == own[owners]) & (own[owners] > unknown)]] = True
        found.append((entry.name, float(hits.double().mean())))
    return tuple(found)


def validation_curve(
    recipe: Recipe, phase: Phase, records: Sequence[Mapping[str, Any]], *, kept_epoch: int, wanted: Headline
) -> Curve | NotMade:
    """The headline figure of validation, epoch by epoch, of the training that chose the epoch.

    Args:
        recipe: How validation measured.
        phase: For the number of rows.
        records: As ``metrics.jsonl`` has them.
        kept_epoch: Whose weights were kept.
        wanted: The figure, unless early stopping goes by an error of an outcome, or retrieval is not learned: then it is the
            first task's RMSE.
    """
    stopping = recipe.training.early_stopping
    metric = wanted.name if stopping is None else stopping.metric
    if stopping is None and recipe.loss.weight == 0:
        metric = f"{recipe.tasks[0].name} rmse"
    judged = [record for record in records if record["phase"] == "select" and metric in record["metrics"]]
    if not judged:
        return NotMade(f"no epoch was validated by {metric}: the split has no validation rows")
    split = phase.tables.split
    of_test = recipe.evaluation.validate_on == "test"
    rows = len(split.test if of_test else split.validation)
    return Curve(
        metric=metric,
        epochs=tuple(int(record["epoch"]) for record in judged),
        figures=tuple(float(record["metrics"][metric]) for record in judged),
        losses=tuple(float(record["loss"]) for record in judged),
        kept_epoch=kept_epoch,
        rows=min(rows, recipe.evaluation.max_validation_rows or rows),
        of_test=of_test,
        smaller_is_better=smaller_is_better(metric),
    )


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows if len(rows) <= _MOST_ROWS else np.sort(np.random.default_rng(0).choice(rows, _MOST_ROWS, replace=False))
