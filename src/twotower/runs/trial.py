"""One trial of a tuning: a training on train rows, looked at through validation rows; test rows are not there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from twotower.data import Split
from twotower.errors import ConfigError, DataError, TwotowerError
from twotower.runs.fit_model import OwnParts, UntrainedModel, build_model, fit_model
from twotower.runs.hardware import peak_memory_bytes
from twotower.runs.phase import Phase, fit_phase
from twotower.runs.recipe import Recipe
from twotower.runs.run_many import Frames
from twotower.runs.tables import Tables, load_tables
from twotower.runs.trial_record import TrialEnd
from twotower.runs.watched import Watched, validation_figures
from twotower.training import EpochDone, TrainingEvent, resolve_device, smaller_is_better

__all__ = ["GoOn", "TrialGround", "load_ground", "tuning_metric", "with_metric"]

GoOn: TypeAlias = Callable[[int, float], bool]
"""Is told an epoch and its validation figure, and says whether the trial goes on."""


class _PrunedError(Exception):
    """Ends a training from its listener."""


@dataclass
class TrialGround:
    """What all trials of a tuning are trained on, read once.

    Attributes:
        tables: Without test rows: the split names none, so that nothing can look at them.
        metric: The validation figure that trials are compared by.
    """

    tables: Tables
    metric: str

    def __post_init__(self) -> None:
        self._phase: tuple[str, Phase] | None = None

    def build(self, recipe: Recipe) -> UntrainedModel:
        """The model of a trial with fresh weights; preprocessing is kept for trials that have the same.

        Raises:
            ConfigError: If towers, tables and columns do not fit each other, or the metric ranks what is not learned.
            DataError: If a feature can't be fitted.
        """
        _require_learned(recipe, self.metric)
        features = [entry.feature.model_dump_json() for tower in (recipe.query, recipe.candidate) for entry in tower.features]
        key = repr((features, len(recipe.query.features), [task.model_dump_json() for task in recipe.tasks]))
        if self._phase is None or self._phase[0] != key:
            self._phase = None  # two at a time would take twice the memory
            self._phase = (key, fit_phase(recipe, self.tables, self.tables.split.train))
        phase = self._phase[1]
        users = int(np.unique(phase.train.user_rows.numpy()).size)
        if len(phase.catalogue) < 2 or users < 2:
            raise DataError(f"training needs at least two users and two items to tell apart; there are {users:,} users")
        return build_model(recipe, phase, OwnParts())

    def run(self, recipe: Recipe, go_on: GoOn) -> TrialEnd:
        """Train as a recipe says, until it ends or is told to.

        Args:
            recipe: Of the trial.
            go_on: Told of every validation.

        Returns:
            What came of it; a trial that fails is no error.
        """
        began = time.perf_counter()
        seen: dict[int, float] = {}
        trained = 0
        sign = -1.0 if smaller_is_better(self.metric) else 1.0

        def listen(event: TrainingEvent) -> None:
            nonlocal trained
            if not isinstance(event, EpochDone):
                return
            trained = event.epoch
            if self.metric not in event.metrics:
                return
            value = event.metrics[self.metric]
            if not math.isfinite(value):
                raise DataError(f"validation gives {self.metric} = {value} after epoch {event.epoch}")
            seen[event.epoch] = value
            if not go_on(event.epoch, value) and event.epoch < recipe.training.epochs:
                raise _PrunedError

        def ended(end: TrialEnd) -> TrialEnd:
            return replace(end, epochs_run=trained, seconds=time.perf_counter() - began, peak_memory_bytes=peak_memory_bytes())

        try:
            untrained = self.build(recipe)
            fitted = fit_model(
                recipe,
                untrained,
                device=resolve_device(recipe.device),
                validation_rows=self.tables.split.validation,
                listener=listen,
            )
        except _PrunedError:
            best = max(seen, key=lambda epoch: sign * seen[epoch])
            return ended(TrialEnd("pruned", seen[best], best))
        except (TwotowerError, MemoryError, torch.OutOfMemoryError) as error:
            return ended(TrialEnd("failed", reason=str(error) or type(error).__name__))
        epoch = fitted.training.epoch
        return ended(TrialEnd("done", seen[epoch], epoch))


def tuning_metric(recipe: Recipe, asked: str | None = None) -> str:
    """The validation figure to tune by: what was asked for, else that of early stopping, else the last recall."""
    stopping = recipe.training.early_stopping
    return asked or (stopping.metric if stopping is not None else f"recall@{recipe.evaluation.ks[-1]}")


def with_metric(recipe: Recipe, metric: str) -> Recipe:
    """The recipe, its early stopping (if any) by the metric: the epoch that is kept is then the one that a trial is judged by.

    Raises:
        ConfigError: If validation gives no such figure, or would not for lack of early stopping, or it would say nothing.
    """
    known = validation_figures(recipe.evaluation.ks, [task.name for task in recipe.tasks])
    if metric not in known:
        raise ConfigError(f"--metric {metric!r}: validation gives {', '.join(known)}")
    _require_learned(recipe, metric)
    stopping = recipe.training.early_stopping
    if stopping is None and Watched.of(metric).per_user:
        raise ConfigError(
            f"--metric {metric!r}: validation gives figures per user where early stopping watches one, and "
            "training.early_stopping is false: leave it out of the recipe, or name a figure per row"
        )
    if stopping is None or stopping.metric == metric:
        return recipe
    training = recipe.training.model_copy(update={"early_stopping": stopping.model_copy(update={"metric": metric})})
    return recipe.model_copy(update={"training": training})


def _require_learned(recipe: Recipe, metric: str) -> None:
    """Of rankings that nothing is learned for, the best is chance."""
    if recipe.loss.weight == 0 and Watched.of(metric).orders_rankers:
        errors = [f"{task.name} {figure}" for task in recipe.tasks for figure in ("rmse", "mae")]
        raise ConfigError(
            f"--metric {metric!r}: says nothing where retrieval is not learned (loss.weight = 0): name one of "
            f"{', '.join(errors)}, or give retrieval a weight"
        )


def load_ground(recipe: Recipe, metric: str, frames: Frames) -> TrialGround:
    """Read the tables of a recipe, and leave its test rows out.

    Raises:
        ConfigError: If there are no validation rows to choose by, or the recipe lets test rows be looked at.
        DataError: If a table does not hold what the recipe says.
    """
    if recipe.evaluation.validate_on == "test":
        raise ConfigError(
            "evaluation.validate_on = 'test' would choose settings on test rows: set it to 'validation', and give "
            "split.validation some rows"
        )
    if recipe.data.fit_on == "all":
        raise ConfigError("data.fit_on = 'all' lets preprocessing see test rows, and a tuning may not: set it to 'train'")
    found = load_tables(
        recipe,
        interactions=frames.interactions,
        items=frames.items,
        users=frames.users,
        cache_dir=frames.cache_dir,
    )
    parts = found.split
    if len(parts.validation) == 0:
        raise ConfigError("split.validation gives no rows, and a tuning chooses by them: give it some")
    none = Split(parts.train, parts.validation, np.empty(0, dtype=np.int64))
    return TrialGround(replace(found, split=none), metric)
