"""Tuning: many trainings of one recipe with other values, chosen by what the ones before them gave on validation rows."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import polars as pl

from twotower.bundle import JSON, write_json, write_text
from twotower.errors import ConfigError, TrainingError
from twotower.runs.optuna_study import PrunerName, Study, create_study, open_study, optuna_library, storage_faults
from twotower.runs.recipe import Recipe
from twotower.runs.recipe_values import recipe_values
from twotower.runs.run_many import Frames
from twotower.runs.search_space import Space, check_space, own_settings, search_space, tuned_recipe
from twotower.runs.trial import TrialGround, load_ground, tuning_metric, with_metric
from twotower.runs.trial_record import TrialEnd, TrialRecord
from twotower.runs.trial_workers import TrialJob, WorkerPool, run_here
from twotower.runs.tuning_folder import TuningFolder, differences
from twotower.runs.tuning_outcome import best_of, best_recipe_toml, edge_notes, trials_table
from twotower.training import smaller_is_better

__all__ = ["PRUNERS", "TuneListener", "TuningProgress", "TuningResult", "tune"]

PRUNERS: tuple[PrunerName, ...] = ("median", "hyperband", "none")


@dataclass(frozen=True)
class TuningProgress:
    """How far a tuning is.

    Attributes:
        done: Trials that have ended, over all sessions.
        total: Trials that were asked for.
        running: By number, the last epoch of each trial that runs, and its figure; None before the first.
        best: The best trial so far; None before the first.
        seconds_left: A guess from the trials of this session; None before the first.
        note: Something to be said once; empty for nothing.
    """

    done: int
    total: int
    running: Mapping[int, tuple[int, float] | None]
    best: TrialRecord | None
    seconds_left: float | None
    note: str = ""


TuneListener: TypeAlias = Callable[[TuningProgress], None]
"""Is told how far a tuning is: whenever a trial begins, is validated or ends, and now and then between."""


@dataclass(frozen=True)
class TuningResult:
    """What a tuning gave.

    Attributes:
        folder: Holds ``best.toml``, ``trials.json`` and the storage.
        summary: What ``--json`` prints: ``metric``, ``smaller_is_better``, ``rows`` (train, validation), ``trials`` (how many,
            by state), ``best`` and ``own`` (the trial with the recipe's own values; None where there is none), ``importances``,
            ``notes``, ``seconds`` of this call.
        space: What was varied.
        records: Every trial.
        best: The recipe with the best trial's values.
    """

    folder: Path
    summary: dict[str, Any]
    space: Space
    records: tuple[TrialRecord, ...]
    best: Recipe


def tune(
    recipe: Recipe,
    folder: str | Path,
    *,
    trials: int = 30,
    timeout_s: float | None = None,
    jobs: int = 1,
    metric: str | None = None,
    seed: int = 0,
    pruner: PrunerName = "median",
    resume: bool = False,
    overwrite: bool = False,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    cache_dir: Path | None = None,
    listener: TuneListener | None = None,
) -> TuningResult:
    """Try values of a recipe's keys, each in a training of its own, and keep what is best on validation rows.

    What is tried first is the recipe as it is, then values drawn at random, then those that TPE takes from the trials before.
    Test rows are not looked at: the best recipe is judged once, by a run of its own.

    Args:
        recipe: Its ``[tune]`` says what varies; without one, see `twotower.runs.search_space.default_space`.
        folder: For the storage and the result.
        trials: How many in all, those of earlier calls included.
        timeout_s: After so many seconds of this call no other trial begins; those that run are finished.
        jobs: Trials at a time. With several, each has a process, so call this under ``if __name__ == "__main__"``; fewer run
            where memory has no room for them.
        metric: The validation figure to choose by. None: that of early stopping, else the last recall.
        seed: Of the choice of values. Trainings have the recipe's.
        pruner: ``median``, ``hyperband`` or ``none``: how trials that fall behind are given up.
        resume: Go on with the tuning that is there; trials that were interrupted are tried again.
        overwrite: Start over where a tuning is.
        interactions: In place of the recipe's table.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        cache_dir: Where public data sets are kept; None for the default.
        listener: Is told what happens.

    Raises:
        MissingExtraError: If Optuna is not installed.
        ConfigError: If the space is wrong, there are no validation rows, or the folder holds another tuning or other things.
        DataError: If a table does not hold what the recipe says.
        TrainingError: If no trial gave a figure.
        StoreError: If the storage is damaged.
    """
    optuna_library()
    if trials < 1 or jobs < 1:
        raise ConfigError(f"trials and jobs must be at least 1; came {trials} and {jobs}")
    if pruner not in PRUNERS:
        raise ConfigError(f"--pruner {pruner!r}: must be one of {', '.join(PRUNERS)}")
    began = time.monotonic()
    metric = tuning_metric(recipe, metric)
    recipe = with_metric(recipe, metric)
    wanted = search_space(recipe)
    frames = Frames(interactions, items, users, cache_dir)
    place = TuningFolder(Path(folder))
    with place.open(resume=resume, overwrite=overwrite), storage_faults(place.study):
        _raise(check_space(recipe, wanted) if recipe.tune else {})
        ground = load_ground(recipe, metric, frames)
        space, notes = _checked(recipe, wanted, ground)
        identity = _identity(recipe, space, metric, seed, pruner, ground)
        place.begin(overwrite=overwrite)
        own = own_settings(recipe, space)
        is_new = not place.study.exists()
        smaller = smaller_is_better(metric)
        if is_new:
            create_study(place.study, identity, smaller=smaller)
        training = recipe.training
        study = open_study(
            place.study,
            space,
            seed=seed,
            pruner=pruner,
            epochs=training.epochs,
            every=training.validate_every,
            parallel=jobs > 1,
        )
        try:
            _require_same(place, study.identity, identity)
            if own is None:
                notes.append(
                    "the recipe itself lies outside of the space: it was not tried, and there is nothing to compare with"
                )
            elif not study.records():
                study.queue_own(own)
            rows = {"train": len(ground.tables.split.train), "validation": len(ground.tables.split.validation)}
            desk = _Desk(recipe, space, study, place, metric, rows, trials, timeout_s, jobs, notes, listener or _ignore, began)
            desk.take_up()
            if jobs == 1:
                run_here(ground, desk)
            else:
                del ground  # the processes have tables of their own
                WorkerPool(recipe, metric, frames, jobs, desk).run()
            return desk.finish()
        finally:
            study.close()


def _ignore(progress: TuningProgress) -> None:
    del progress


def _raise(faults: Mapping[str, Sequence[str]]) -> None:
    if faults:
        raise ConfigError([fault for found in faults.values() for fault in found])


def _checked(recipe: Recipe, wanted: Space, ground: TrialGround) -> tuple[dict[str, Any], list[str]]:
    """The space, once it is sure that models can be built at both ends; of a default space what can't be is left out."""
    faults = check_space(recipe, wanted, ground.build)
    if recipe.tune:
        _raise(faults)
    space = {key: config for key, config in wanted.items() if key not in faults}
    if not space:
        raise ConfigError("nothing of this recipe can be tuned by itself: say what may vary in [tune]")
    return space, [f"{key} is not tuned: {found[0]}" for key, found in faults.items()]


def _identity(recipe: Recipe, space: Space, metric: str, seed: int, pruner: PrunerName, ground: TrialGround) -> dict[str, Any]:
    """What a tuning is of: where any of it differs, figures would not compare."""
    found = {
        "recipe": recipe_values(recipe),
        "space": {key: config.model_dump(mode="json") for key, config in space.items()},
        "metric": metric,
        "seed": seed,
        "pruner": pruner,
        "data": ground.tables.fingerprint,
    }
    return cast(dict[str, Any], json.loads(json.dumps(found)))


def _require_same(place: TuningFolder, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    found = differences(stored, wanted)
    if found:
        raise ConfigError(
            f"--run-dir {place.path}: the tuning there is of another recipe ({', '.join(found)}); go on with the same one, "
            "start over with --overwrite, or name another folder"
        )


@dataclass
class _Desk:
    """Gives out trials, and keeps what comes of them; see `twotower.runs.trial_workers.TrialDesk`."""

    recipe: Recipe
    space: Space
    study: Study
    place: TuningFolder
    metric: str
    rows: Mapping[str, int]
    trials: int
    timeout_s: float | None
    jobs: int
    notes: list[str]
    listener: TuneListener
    began: float
    running: dict[int, tuple[int, float] | None] = field(default_factory=dict)
    records: tuple[TrialRecord, ...] = ()
    ended_here: int = 0

    def take_up(self) -> None:
        """Queue again what was interrupted, and say so."""
        again = self.study.requeue()
        if again:
            self.note(f"trial {', '.join(map(str, again))} was interrupted, and is tried again")
        self._read()
        self._tell()

    def next_trial(self) -> TrialJob | None:
        """The next trial, as long as there are more to make and time is left."""
        while True:
            late = self.timeout_s is not None and time.monotonic() - self.began >= self.timeout_s
            if late or self._done() + len(self.running) >= self.trials:
                return None
            number, settings = self.study.ask()
            try:
                job = TrialJob(number, tuned_recipe(self.recipe, self.space, settings))
            except ConfigError as error:  # both ends are sound, but not every two values together
                self.study.tell(number, TrialEnd("failed", reason=str(error)))
                self._read()
                continue
            self.running[number] = None
            self._tell()
            return job

    def epoch(self, number: int, epoch: int, value: float) -> bool:
        """Keep a figure; the rule says whether the trial goes on."""
        self.running[number] = (epoch, value)
        pruned = self.study.report(number, epoch, value)
        self._tell()
        return not pruned

    def ended(self, number: int, end: TrialEnd) -> None:
        """Keep how a trial ended; the table and the best recipe are written anew."""
        self.study.tell(number, end)
        self.running.pop(number, None)
        self.ended_here += 1
        self._read()
        self._write({})
        self._tell()

    def note(self, sentence: str) -> None:
        """Say something, now and in the summary."""
        self.notes.append(sentence)
        self._tell(sentence)

    def idle(self) -> None:
        """Let the clock go on."""
        self._tell()

    def finish(self) -> TuningResult:
        """What came of it.

        Raises:
            TrainingError: If no trial gave a figure.
        """
        self._read()
        best = self._best()
        if best is None:
            reasons = [record.end.reason for record in self.records if record.end is not None and record.end.reason]
            why = f": {reasons[0]}" if reasons else "; give it more time"
            raise TrainingError(f"no trial of {self._done()} gave a figure{why}")
        importances = self.study.importances()
        self.notes += edge_notes(best, self.space)
        self._write(importances)
        own = next((record for record in self.records if record.own and record.counts), None)
        summary = {
            "tune_dir": str(self.place.path),
            "metric": self.metric,
            "smaller_is_better": smaller_is_better(self.metric),
            "rows": dict(self.rows),
            "trials": dict(Counter(record.state for record in self.records)),
            "best": best.to_json(),
            "own": None if own is None else own.to_json(),
            "importances": importances,
            "notes": self.notes,
            "seconds": time.monotonic() - self.began,
        }
        tuned = tuned_recipe(self.recipe, self.space, best.settings)
        return TuningResult(self.place.path, summary, self.space, self.records, tuned)

    def _best(self) -> TrialRecord | None:
        return best_of(self.records, smaller=smaller_is_better(self.metric))

    def _done(self) -> int:
        return sum(record.counts for record in self.records)

    def _read(self) -> None:
        self.records = tuple(self.study.records())

    def _write(self, importances: Mapping[str, float]) -> None:
        best = self._best()
        table = trials_table(self.recipe, self.space, self.metric, self.records, best, importances, self.notes)
        write_json(self.place.trials, cast(JSON, table))
        if best is not None:
            write_text(self.place.best, best_recipe_toml(self.recipe, self.space, self.metric, self.records, best))

    def _tell(self, note: str = "") -> None:
        done = self._done()
        self.listener(TuningProgress(done, self.trials, dict(self.running), self._best(), self._left(done), note))

    def _left(self, done: int) -> float | None:
        """Trials to come at the pace of this session, and no longer than there is time."""
        gone = time.monotonic() - self.began
        left = None if not self.ended_here else gone / self.ended_here * max(0, self.trials - done)
        limit = None if self.timeout_s is None else max(0.0, self.timeout_s - gone)
        known = [value for value in (left, limit) if value is not None]
        return min(known) if known else None
