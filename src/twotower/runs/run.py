"""A whole run: recipe in, run folder out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import torch

from twotower.bundle import JSON, parse_json, write_json
from twotower.columnar import Converting
from twotower.distributed import ALONE, Ranks
from twotower.errors import ConfigError
from twotower.losses import RetrievalLoss
from twotower.models import ModelBuilder, build
from twotower.preprocessing import SequenceFeature
from twotower.recommender import remove_index
from twotower.runs.baselines import baseline_rankers
from twotower.runs.fit_model import FittedModel, OwnParts, UntrainedModel, untrained_model
from twotower.runs.hardware import hardware, peak_memory_bytes
from twotower.runs.judge import MakeScorer, judge, model_ranker, summarised
from twotower.runs.judge_outcomes import judge_outcomes
from twotower.runs.oracle import oracle_summary
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import HowToBegin, RunFolder
from twotower.runs.shared_conversion import SharedConversion, follow_conversions
from twotower.runs.ship import ship_bundle
from twotower.runs.tables import Tables, load_tables
from twotower.runs.tasks import objective
from twotower.runs.trainings import RunListener, Trainings, versions
from twotower.runs.warm_run import WarmRun
from twotower.runs.warm_source import WarmSource, open_source, reopen_source, went_on_from
from twotower.training import TrainingEvent, TrainingResult, checked_capture, resolve_device

__all__ = ["RunListener", "RunResult", "run"]


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        folder: Where it is.
        summary: What ``--json`` prints, with ``details`` besides.
    """

    folder: Path
    summary: dict[str, Any]


def run(
    recipe: Recipe,
    folder: str | Path,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listener: RunListener | None = None,
    builder: ModelBuilder = build,
    loss: Callable[[], RetrievalLoss] | None = None,
    cache_dir: Path | None = None,
    from_run: str | Path | None = None,
    ranks: Ranks = ALONE,
) -> RunResult:
    """Train, judge and bundle, as a recipe says.

    Args:
        recipe: See `twotower.runs.read_recipe`.
        folder: The run's folder.
        interactions: In place of the recipe's table.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        resume: Go on where an interrupted run stopped; a finished one returns its result.
        overwrite: Start over where a run is; its bundle stays until the new one replaces it.
        listener: Is told what happens.
        builder: Builds the model from its spec, for towers of your own; pass it again when loading and re-evaluating.
        loss: Makes a loss of your own, once for each training; None: the recipe's.
        cache_dir: Where public data sets are kept; None for the default.
        from_run: A run, or a bundle, to go on from, as ``recipe.warm_start`` says: embeddings of what it knew are kept, new
            ones are added. What is taken from it is copied into the folder first, so that resuming needs it no more. None:
            begin anew, or, when resuming, as the run had begun.
        ranks: The processes that train together, all of which call this; of ``resume`` and ``overwrite`` those of rank 0
            count. Where all were started again, what they had begun is gone on with, whatever these say. A log of many files is
            converted by all machines that see one cache; rank 0 alone fits preprocessing and writes what is not a checkpoint;
            the others get an empty summary.

    Raises:
        ConfigError: If the recipe does not fit the tables or what to go on from, the device is not there, or the folder may not
            be written; or if what to go on from has learned from rows that this run is judged on.
        DataError: If a table does not hold what the recipe says, or leaves nothing to learn from.
        TrainingError: If a loss or a gradient is not a finite number.
        CheckpointError: If the state to resume from is damaged, or of other data.
        BundleError: If the recipe or the result of the run that is there is damaged, or what to go on from is no run, or is.
    """
    tell = listener or _ignore
    place = RunFolder(Path(folder))
    own = OwnParts(builder, loss)

    def read(told: Callable[[Converting], None] | None) -> Tables:
        return load_tables(
            recipe,
            interactions=interactions,
            items=items,
            users=users,
            cache_dir=cache_dir,
            listener=told,
            divide=SharedConversion(ranks, told) if ranks.size > 1 and ranks.first else None,
        )

    if not ranks.first:
        return _follow(recipe, place, own, read, ranks)
    if ranks.size > 1 and (from_run is not None or (place.warm_start.is_dir() and not overwrite and not place.result.exists())):
        raise ConfigError(
            "--from: several ranks can't go on from another run yet, nor resume one that did: train it in one process"
        )
    again = ranks.agents if ranks.restarts else ()
    with place.open(recipe, resume=resume, overwrite=overwrite, started_again_by=again) as (resume, overwrite):
        if place.result.exists() and not overwrite:
            _require_same_source(place, from_run, own)
            found = parse_json(place.result.read_bytes(), source=str(place.result))
            ranks.tell(None)
            return RunResult(place.path, cast(dict[str, Any], found))
        device = resolve_device(recipe.device)
        source = _source(place, from_run, own, resume=resume)
        tables = read(lambda progress: tell("data", progress))
        for line in tables.report_lines():
            tell("data", line)
        if len(tables.split.test) == 0:
            raise ConfigError("split.test gives no rows, and a model that nobody judged is not shipped: give it some")
        if recipe.refit != "none" and len(tables.split.validation) == 0:
            raise ConfigError(
                f"refit = {recipe.refit!r} needs validation rows to choose the epochs on; split.validation gives none"
            )
        warm = None if source is None else WarmRun(recipe, tables, source)
        if warm is not None:
            for line in warm.report_lines():
                tell("data", line)
        ranks.tell(HowToBegin(resume, overwrite))
        _require_same(recipe, tables, ranks)
        start = None if warm is None else warm.select
        untrained = untrained_model(recipe, tables, tables.split.train, own, warm=start, ranks=ranks)
        _require_capture(recipe, untrained, device, ranks)
        beside = baseline_rankers(recipe, tables, lambda sentence: tell("data", sentence))
        place.begin(recipe, overwrite=overwrite, warm_start=source, agents=ranks.agents)
        write_json(place.data, cast(JSON, tables.interactions.report.model_dump(mode="json")))
        ranks.wait()
        trainings = Trainings(recipe, place, tables, device, own, tell, resume=resume, warm=warm, ranks=ranks)
        return _Run(trainings, beside).execute(untrained)


def _follow(
    recipe: Recipe,
    place: RunFolder,
    own: OwnParts,
    read: Callable[[Callable[[Converting], None] | None], Tables],
    ranks: Ranks,
) -> RunResult:
    """What the other ranks have to do with a run: its trainings."""
    begins = follow_conversions(ranks, HowToBegin)
    if begins is None:  # it has finished before
        return RunResult(place.path, {})
    tables = read(None)  # what had to be converted was
    _require_same(recipe, tables, ranks)
    untrained = untrained_model(recipe, tables, tables.split.train, own, ranks=ranks)
    device = resolve_device(recipe.device)
    _require_capture(recipe, untrained, device, ranks)
    ranks.wait()  # until the folder is ready
    trainings = Trainings(recipe, place, tables, device, own, _ignore, resume=begins.resume, warm=None, ranks=ranks)
    _Run(trainings, {}).follow(untrained)
    return RunResult(place.path, {})


def _require_capture(recipe: Recipe, untrained: UntrainedModel, device: torch.device, ranks: Ranks) -> None:
    """That steps can be captured where that is asked for, before a folder is begun for them."""
    checked_capture(
        recipe.training.cuda_graph,
        untrained.model,
        untrained.loss,
        untrained.batches,
        untrained.phase.items,
        objective(recipe),
        optimizer=recipe.training.optimizer,
        device=device,
        ranks=ranks.size,
        streamed_log_q=untrained.streamed_log_q is not None,
    )


def _require_same(recipe: Recipe, tables: Tables, ranks: Ranks) -> None:
    """That all ranks were given one recipe and have read the same rows: otherwise their steps would not belong together."""
    known = {"recipe": recipe.model_dump(mode="json"), "tables": tables.fingerprint}
    found = ranks.collect({name: hashlib.sha256(json.dumps(each).encode()).hexdigest() for name, each in known.items()})
    for name in known:
        others = [rank for rank, each in enumerate(found) if each[name] != found[0][name]]
        if others:
            raise ConfigError(
                f"rank {others[0]} has another {name.removesuffix('s')} than rank 0: all ranks need the same command, and "
                "files that are the same on every machine and are not written to meanwhile"
            )


def _source(place: RunFolder, from_run: str | Path | None, own: OwnParts, *, resume: bool) -> WarmSource | None:
    """What a run goes on from: what is named, or, when resuming, what is kept of it in the run's own folder."""
    if resume and place.recipe.exists():
        _require_same_source(place, from_run, own)
        return reopen_source(place, builder=own.builder)
    return None if from_run is None else _opened(place, from_run, own)


def _require_same_source(place: RunFolder, from_run: str | Path | None, own: OwnParts) -> None:
    """Refuse to name another run than the one that the run there went on from; a copy of it will do."""
    if from_run is None:
        return
    began = went_on_from(place)
    if began is not None and str(Path(from_run).resolve()) == began.path:
        return
    if began is None or _opened(place, from_run, own).identity != began.identity:
        raise ConfigError(
            f"--run-dir {place.path}: the run there began {'anew' if began is None else f'from {began.path}'}, not from "
            f"{from_run}; resume without --from, or start over with --overwrite"
        )


def _opened(place: RunFolder, from_run: str | Path, own: OwnParts) -> WarmSource:
    if Path(from_run).resolve() in (place.path.resolve(), place.bundle.resolve(), place.measured.resolve()):
        raise ConfigError(f"--from {from_run}: a run can't go on from itself; name another folder with --run-dir")
    return open_source(Path(from_run), builder=own.builder, make_loss=own.make_loss)


def _ignore(phase: str, event: TrainingEvent | Converting | str) -> None:
    del phase, event


class _Run:
    """A run from the first weight on; what can be wrong with recipe and tables was found before."""

    def __init__(self, trainings: Trainings, beside: Mapping[str, MakeScorer]) -> None:
        self.trainings = trainings
        self.recipe = trainings.recipe
        self.place = trainings.place
        self.tables = trainings.tables
        self.device = trainings.device
        self.own = trainings.own
        self.tell = trainings.tell
        self.ranks = trainings.ranks
        self.warm = trainings.warm
        self.beside = beside

    def execute(self, untrained: UntrainedModel) -> RunResult:
        split, recipe, warm = self.tables.split, self.recipe, self.warm
        validation = self.trainings.validation
        if warm is not None:
            warm.begin(untrained, validation, self.device)
        found_model = self.trainings.measured(untrained)
        fitted, chosen, selected = found_model.fitted, found_model.chosen, found_model.selected
        trained_on = "train rows" if recipe.refit == "none" else "train and validation rows"
        self.tell("evaluate", f"{len(split.test):,} rows over {len(fitted.phase.catalogue):,} items")
        found = judge(recipe, fitted.phase, split.test, self._rankers(fitted))
        found.rows.write(self.place.judged)
        if found.frozen is not None:
            found.frozen.write(self.place.judged_frozen)
        outcomes = judge_outcomes(recipe, fitted.phase, fitted.model, split.test, device=self.device, ranks=self.ranks)
        summary = {
            "run_dir": str(self.place.path),
            **summarised(recipe, self.tables, found.figures),
            **oracle_summary(recipe, found.rows, found.frozen),
            **({"outcomes": outcomes} if outcomes else {}),
            "training": {
                "epochs": fitted.training.epochs_run,
                "seconds": fitted.training.seconds,
                "rows_per_s": fitted.training.rows_per_s,
            },
            "selection": {
                "epoch": chosen,
                "epochs_run": selected.epochs_run,
                "seconds": selected.seconds,
                "validation": _figures_of(selected, chosen),
            },
            "device": str(self.device),
            "hardware": hardware(self.device, ranks=self.ranks.size),
            "notes": [
                *_notes(recipe, validated=len(validation) > 0, negatives=self.tables.interactions.negatives.height),
                *(() if warm is None else warm.notes),
            ],
            **({} if warm is None else {"warm_start": warm.to_json()}),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        card: dict[str, JSON] = {
            "recipe": recipe.model_dump(mode="json"),
            "result": cast(JSON, {key: value for key, value in summary.items() if key not in ("details", "run_dir")}),
            "versions": versions(),
            "data": {"fingerprint": self.tables.fingerprint},
            "trained_on": trained_on if warm is None else f"{trained_on}; {warm.said}",
            **({} if warm is None else {"warm_start": warm.card()}),
        }
        if recipe.refit == "all":
            self._ship(fitted, card, self.place.measured)
            fitted = self.trainings.production(chosen)
            card["trained_on"] = "all rows; the figures are of the model in measured/, which did not see the test rows" + (
                "" if warm is None else f"; {warm.said}"
            )
        self.tell("bundle", str(self.place.bundle))
        remove_index(self.place.path)  # it is of other vectors from here on
        self._ship(fitted, card, self.place.bundle)
        if recipe.refit != "all":
            shutil.rmtree(self.place.measured, ignore_errors=True)  # of a run that was started over
        write_json(self.place.result, cast(JSON, summary))
        if warm is not None:
            warm.source.release(self.place)
        return RunResult(self.place.path, summary)

    def follow(self, untrained: UntrainedModel) -> None:
        """What the other ranks do meanwhile: all that all have to do, in the order of `execute`."""
        test = self.tables.split.test
        found_model = self.trainings.measured(untrained)
        fitted, device = found_model.fitted, self.device
        # nobody asks another rank for intervals
        recipe = self.recipe.model_copy(update={"evaluation": self.recipe.evaluation.model_copy(update={"draws": 0})})
        judge(recipe, fitted.phase, test, self._rankers(fitted))
        judge_outcomes(recipe, fitted.phase, fitted.model, test, device=device, ranks=self.ranks)
        if recipe.refit == "all":
            self._ship(fitted, {}, self.place.measured)
            fitted = self.trainings.production(found_model.chosen)
        self._ship(fitted, {}, self.place.bundle)

    def _rankers(self, fitted: FittedModel) -> dict[str, MakeScorer]:
        return {"model": model_ranker(fitted.model, fitted.phase, device=self.device, ranks=self.ranks), **self.beside}

    def _ship(self, fitted: FittedModel, card: Mapping[str, JSON], path: Path) -> None:
        ship_bundle(fitted, card, path, builder=self.own.builder, ranks=self.ranks)


def _figures_of(training: TrainingResult, epoch: int) -> dict[str, float]:
    return dict(training.records[epoch - 1]["metrics"]) if epoch else {}


def _notes(recipe: Recipe, *, validated: bool, negatives: int) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    if recipe.data.fit_on == "all":
        notes.append("leaking: vocabulary, buckets and moments know the test rows (data.fit_on = 'all')")
    if recipe.evaluation.validate_on == "test":
        notes.append("leaking: the curve drawn while training is of test rows (evaluation.validate_on = 'test')")
    if recipe.training.early_stopping is not None and not validated:
        notes.append("no validation rows: every epoch was trained and the last one kept, without early stopping")
    if recipe.loss.weight == 0:
        notes.append(
            "retrieval was not learned (loss.weight = 0): rankings are by vectors that were trained for the tasks alone"
        )
    if recipe.tasks and negatives:
        notes.append(
            f"tasks learn from positives and are judged on positives: {negatives:,} rows that fail data.columns.positives "
            "teach them nothing, whatever their outcome"
        )
    notes += [
        f"the query knows when each item is asked for (query.features.{i}.request_time): the figures are of a recommender that "
        "is asked at the moment of each test row"
        for i, entry in enumerate(recipe.query.features)
        if isinstance(entry.feature, SequenceFeature) and entry.feature.request_time
    ]
    return notes
