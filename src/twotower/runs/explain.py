"""What a training will do, and why, said before it does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import polars as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.bundle import JSON
from twotower.columnar import Converting
from twotower.data import Examples
from twotower.losses import GBCE, BilateralSoftmax, FullSoftmax, InBatchSoftmax, RetrievalLoss
from twotower.losses.native_tiles import NativeTiles
from twotower.losses.tiled import fits_tiles
from twotower.models import ModelBuilder, TwoTower, build
from twotower.optim import rows_pay
from twotower.runs.fit_model import OwnParts, UntrainedModel, untrained_model
from twotower.runs.hardware import peak_memory_bytes
from twotower.runs.mapped import stored_bytes
from twotower.runs.negatives import count_negatives
from twotower.runs.recipe import Recipe
from twotower.runs.table_updates import TouchedRows
from twotower.runs.tables import load_tables
from twotower.runs.tasks import objective
from twotower.runs.warm_run import WarmRun
from twotower.runs.warm_source import open_source
from twotower.training import TrainedParameters, resolve_device, why_not_captured
from twotower.types import Coded, Computed, Ragged, StoredColumn

__all__ = ["explain"]


def explain(
    recipe: Recipe,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    builder: ModelBuilder = build,
    loss: Callable[[], RetrievalLoss] | None = None,
    cache_dir: Path | None = None,
    listener: Callable[[Converting], None] | None = None,
    from_run: str | Path | None = None,
) -> dict[str, JSON]:
    """Prepare a training as `run` does, look at what was prepared, and stop before its first step; no run is written.

    Args:
        recipe: See `twotower.runs.read_recipe`.
        interactions: In place of the recipe's table.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        builder: As for `run`.
        loss: As for `run`.
        cache_dir: Where public data sets and converted tables are kept; None for the default.
        listener: Is told how far the conversion of a table is.
        from_run: As for `run`.

    Returns:
        ``recipe``, ``device``, ``threads``, ``cores``; ``rows`` (of each part of the split), ``users``, ``items``;
        ``training`` (epochs, steps and rows of each); ``tables``, one entry each: ``name``, ``rows``, ``width``, ``update``
        and ``why``, ``touched`` (rows of it in the first batch), ``rows_would_pay`` (by the measured rule alone),
        ``optimizer``, ``learning_rate``; ``others``, the parameters that are no tables, by optimiser and learning rate;
        ``accelerator`` where training is on one: ``resident_data`` as asked, ``bytes`` of the data that would be kept there,
        ``cuda_graph`` as asked, and ``not_captured``: why a step can't be captured as a graph, None where it can;
        ``propagation`` (None without): ``tables``, ``layers``, ``edges`` of the graph; ``loss``, with ``negatives`` as in
        `NegativeCounts`, and ``counts``: where log-Q has its counts from, and their bytes; ``feed``; ``evaluation``;
        ``bytes``, by what they are for. With
        ``from_run``, ``warm_start``: ``from``, ``rows`` (``learned``, ``new``, ``replayed``, ``known``), ``tables`` (``known``,
        ``new`` and ``dropped`` rows of each), ``carried`` parts, ``fresh`` ones with why, ``optimizer``, ``notes``.

    Raises:
        ConfigError: If the recipe does not fit the tables or what to go on from, or the device is not there.
        DataError: If a table does not hold what the recipe says, or leaves nothing to learn from.
        BundleError: If what to go on from is no run, or is damaged.
    """
    device = resolve_device(recipe.device)
    own = OwnParts(builder, loss)
    source = None if from_run is None else open_source(Path(from_run), builder=builder, make_loss=own.make_loss)
    tables = load_tables(recipe, interactions=interactions, items=items, users=users, cache_dir=cache_dir, listener=listener)
    warm = None if source is None else WarmRun(recipe, tables, source)
    untrained = untrained_model(recipe, tables, tables.split.train, own, warm=None if warm is None else warm.select)
    facts = explain_untrained(recipe, untrained, device)
    if warm is not None and untrained.started is not None:
        started = untrained.started.to_json()
        facts["warm_start"] = {"from": warm.source.path, **started, "notes": list(warm.notes)}
    return facts


def explain_untrained(recipe: Recipe, untrained: UntrainedModel, device: torch.device) -> dict[str, JSON]:
    """As `explain`, of what was prepared already."""
    phase, batches = untrained.phase, untrained.batches
    touched = TouchedRows(untrained.model.spec, batches, phase.items)
    trained = _Trained(recipe, untrained)
    split = phase.tables.split
    table_entries: list[dict[str, JSON]] = []
    gradients = trained.bytes_of_others
    for update in untrained.updates:
        parameter = untrained.model.embeddings.table(update.spec.name)
        optimizer, rate = trained.optimizer_of(parameter)
        count = touched(update.spec.name)
        rows = count if update.spec.update == "rows" else update.spec.vocabulary_size
        gradients += rows * update.spec.embedding_dim * parameter.element_size()
        table_entries.append(
            {
                "name": update.spec.name,
                "rows": update.spec.vocabulary_size,
                "width": update.spec.embedding_dim,
                "update": update.spec.update,
                "why": update.why,
                "touched": count,
                "rows_would_pay": rows_pay(update.spec.vocabulary_size, update.spec.embedding_dim, count),
                "optimizer": optimizer,
                "learning_rate": rate,
            }
        )
    in_memory, in_files = stored_bytes(_tensors_of(untrained))
    return {
        "recipe": recipe.name,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "users": len(phase.tables.user_ids),
        "items": len(phase.catalogue),
        "training": {
            "epochs": recipe.training.epochs,
            "steps_per_epoch": len(batches),
            "batch_size": min(batches.batch_size, len(batches.examples)),
            "refit": recipe.refit,
        },
        "tables": table_entries,  # type: ignore[dict-item]
        "others": trained.others(),
        "propagation": _propagation(untrained.model),
        "loss": _loss(untrained, device, touched.candidates),
        "feed": _feed(untrained),
        **({} if device.type == "cpu" else {"accelerator": _accelerator(recipe, untrained)}),
        "evaluation": _evaluation(recipe, untrained, device),
        "bytes": {
            "parameters": trained.parameter_bytes,
            "optimizer_states": trained.state_bytes,
            "gradients": gradients,
            "data_in_memory": in_memory,
            "data_in_files": in_files,
            "process_so_far": peak_memory_bytes(),
        },
    }


class _Trained:
    """The optimisers as training builds them, and what they train."""

    def __init__(self, recipe: Recipe, untrained: UntrainedModel) -> None:
        model, loss = untrained.model, untrained.loss
        self.optimizers = TrainedParameters(model, loss, recipe.training.optimizer).optimizers
        self._tables = {id(model.embeddings.table(update.spec.name)) for update in untrained.updates}
        self.parameter_bytes = sum(_bytes(parameter) for _, parameter in self._parameters())
        self.bytes_of_others = sum(_bytes(p) for _, p in self._parameters() if id(p) not in self._tables)
        self.state_bytes = sum(_state_bytes(optimizer, parameter) for (optimizer, _), parameter in self._parameters())

    def _parameters(self) -> Iterator[tuple[tuple[Optimizer, float], Tensor]]:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    yield (optimizer, float(group["initial_lr"])), parameter

    def optimizer_of(self, parameter: Tensor) -> tuple[str, float]:
        """Name of the optimiser that trains a parameter, and the rate that its schedule starts from."""
        found = [entry for entry, other in self._parameters() if other is parameter]
        return (type(found[0][0]).__name__, found[0][1]) if found else ("none", 0.0)

    def others(self) -> list[JSON]:
        """Parameters that are no tables, by optimiser and rate."""
        numbers: dict[tuple[str, float], int] = {}
        for (optimizer, rate), parameter in self._parameters():
            if id(parameter) not in self._tables:
                key = type(optimizer).__name__, rate
                numbers[key] = numbers.get(key, 0) + parameter.numel()
        return [{"optimizer": name, "learning_rate": rate, "numbers": n} for (name, rate), n in numbers.items()]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _state_bytes(optimizer: Optimizer, parameter: Tensor) -> int:
    """What the optimiser keeps of a parameter; Adam's two moments come with its first step."""
    if isinstance(optimizer, torch.optim.Adam):
        return 2 * _bytes(parameter)
    return sum(_bytes(value) for name, value in optimizer.state[parameter].items() if name != "step")


def _propagation(model: TwoTower) -> JSON:
    found = model.embeddings.propagation
    if found is None:
        return None
    return {"tables": list(found.tables), "layers": len(found.weights) - 1, "edges": found.graph.num_edges}


def _loss(untrained: UntrainedModel, device: torch.device, candidates: int) -> dict[str, JSON]:
    loss, batches = untrained.loss, untrained.batches
    rows = min(batches.batch_size, len(batches.examples))
    negatives: dict[str, JSON] = {**asdict(count_negatives(untrained))}
    found: dict[str, JSON] = {"kind": type(loss).__name__, "candidates": candidates, "corrected": loss.uses_log_q}
    found["negatives"] = negatives
    if loss.uses_log_q:
        found["counts"] = _counts(untrained)
    if not isinstance(loss, FullSoftmax | InBatchSoftmax | BilateralSoftmax | GBCE):
        return found | {"path": "its own"}
    found["precision"] = loss.precision
    queries_BD = torch.zeros(rows, untrained.model.embedding_dim, device=device)
    if isinstance(loss, GBCE):  # of no more items than were drawn
        most = min(candidates, batches.extra_negatives) if loss.uniform_negatives else candidates
        return found | {"path": "matrix", "bytes": 2 * 4 * rows * most}
    if not fits_tiles(queries_BD):
        return found | {"path": "matrix", "bytes": 4 * rows * candidates}
    candidates_CD = torch.zeros(candidates, untrained.model.embedding_dim)
    native = NativeTiles.open(queries_BD, candidates_CD, None, loss.precision) is not None
    return found | {"path": "tiles by a kernel in C" if native else "tiles by torch"}


def _counts(untrained: UntrainedModel) -> dict[str, JSON]:
    """Where log-Q has its counts from, and what they take."""
    if untrained.streamed_log_q is None:
        return {"kind": "held", "bytes": 0 if untrained.log_q_N is None else _bytes(untrained.log_q_N)}
    sketch = untrained.streamed_log_q.sketch
    return {"kind": "sketch", "width": sketch.width, "depth": sketch.depth, "bytes": sketch.num_bytes}


def _feed(untrained: UntrainedModel) -> dict[str, JSON]:
    examples = untrained.batches.examples
    columns = {**examples.users, **examples.context}
    in_files = [name for name, column in columns.items() if stored_bytes(_tensors(column))[1]]
    computed = [name for name, column in columns.items() if isinstance(column, Computed)]
    return {
        "columns": len(columns),
        "in_files": list(in_files),
        "computed": list(computed),
        "histories": [entry.name for entry in examples.history_inputs],
        "order": _order(untrained),
        **_events(examples),
    }


def _accelerator(recipe: Recipe, untrained: UntrainedModel) -> dict[str, JSON]:
    streamed = untrained.streamed_log_q is not None
    parts = untrained.model, untrained.loss, untrained.batches, untrained.phase.items, objective(recipe)
    return {
        "resident_data": recipe.training.resident_data,
        "bytes": untrained.batches.examples.num_bytes(),
        "cuda_graph": recipe.training.cuda_graph,
        "not_captured": why_not_captured(*parts, optimizer=recipe.training.optimizer, streamed_log_q=streamed),
    }


def _events(examples: Examples) -> dict[str, JSON]:
    """What is read of events beside their items, and by whom the time of a request; nothing where nobody does."""
    read: dict[str, JSON] = {
        entry.name: [*(["time"] if entry.times else []), *entry.columns] for entry in examples.history_inputs if entry.of_events
    }
    asked: list[JSON] = [entry.name for entry in examples.history_inputs if entry.request_time]
    return {**({"events": read} if read else {}), **({"request_time": asked} if asked else {})}


def _order(untrained: UntrainedModel) -> str:
    examples, batches = untrained.batches.examples, untrained.batches
    if any(entry.in_order for entry in examples.history_inputs):
        return "sequences whole, those of about one length together"
    return "computed batch by batch" if len(examples) > batches.most_in_memory else "one permutation an epoch"


def _evaluation(recipe: Recipe, untrained: UntrainedModel, device: torch.device) -> dict[str, JSON]:
    split, config = untrained.phase.tables.split, recipe.evaluation
    validation = len(split.test if config.validate_on == "test" else split.validation)
    most = config.max_validation_rows
    stopping = recipe.training.early_stopping
    return {
        "device": str(device),
        "validates_on": config.validate_on,
        "validation_rows": validation if most is None else min(validation, most),
        "every_epochs": recipe.training.validate_every if validation else 0,
        "stops_on": stopping.metric if stopping is not None and validation else None,
        "test_rows": len(split.test),
        "histories": "grow to each row" if untrained.phase.grows else "frozen at the train rows",
    }


def _tensors(column: StoredColumn) -> Iterator[Tensor]:
    if isinstance(column, Tensor):
        yield column
    elif isinstance(column, Ragged):
        yield from column
    elif isinstance(column, Coded):
        yield column.codes
        yield from _tensors(column.values)


def _tensors_of(untrained: UntrainedModel) -> Iterator[Tensor]:
    """All that batches are made from, but the catalogue's names."""
    examples = untrained.batches.examples
    sources: tuple[Mapping[str, StoredColumn], ...] = (examples.users, examples.context, untrained.phase.items)
    for columns in sources:
        for column in columns.values():
            yield from _tensors(column)
    yield from (examples.user_rows, examples.item_rows, examples.before, *examples.outcomes.values())
    histories = examples.histories
    yield from (histories.offsets, histories.item_rows, histories.first)
    yield from histories.columns.values()
    given = (histories.times, examples.times, examples.weights, untrained.log_q_N)
    yield from (tensor for tensor in given if tensor is not None)
    if untrained.streamed_log_q is not None:
        yield untrained.streamed_log_q.sketch.counters
    yield from (entry.lookup for entry in examples.history_inputs if entry.lookup is not None)
    if len(examples) <= untrained.batches.most_in_memory:
        yield untrained.batches.order(0)
