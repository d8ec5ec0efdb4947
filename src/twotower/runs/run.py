"""A whole run: recipe in, run folder out."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

import twotower
from twotower.bundle import JSON, write_json
from twotower.errors import ConfigError, DataError
from twotower.recommender import write_recommender
from twotower.runs.fit_model import FittedModel, fit_model
from twotower.runs.judge import judge
from twotower.runs.phase import Phase, fit_phase
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import MetricsLog, RunFolder
from twotower.runs.ship import recommender_of
from twotower.runs.tables import Tables, load_tables
from twotower.training import Checkpoints, TrainingEvent, resolve_device

__all__ = ["RunListener", "RunResult", "run"]

RunListener: TypeAlias = Callable[[str, TrainingEvent | str], None]
"""Is told the phase (``data``, ``select``, ``refit``, ``production``, ``evaluate``, ``bundle``) and an event or a sentence."""


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
    cache_dir: Path | None = None,
) -> RunResult:
    """Train, judge and bundle, as a recipe says.

    Args:
        recipe: See `twotower.runs.read_recipe`.
        folder: The run's folder.
        interactions: In place of the recipe's table.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        resume: Go on where an interrupted run stopped; a finished one returns its result.
        overwrite: Start over where a run is.
        listener: Is told what happens.
        cache_dir: Where public data sets are kept; None for the default.

    Raises:
        TwotowerError: See `twotower.errors`.
    """
    tell = listener or _ignore
    place = RunFolder(Path(folder))
    with place.open(recipe, resume=resume, overwrite=overwrite):
        if place.result.exists():
            return RunResult(place.path, json.loads(place.result.read_text(encoding="utf-8")))
        tables = load_tables(recipe, interactions=interactions, items=items, users=users, cache_dir=cache_dir)
        for line in tables.report_lines():
            tell("data", line)
        write_json(place.path / "data.json", cast(JSON, tables.interactions.report.model_dump(mode="json")))
        return _Run(recipe, place, tables, tell, resume).execute()


def _ignore(phase: str, event: TrainingEvent | str) -> None:
    del phase, event


class _Run:
    def __init__(self, recipe: Recipe, place: RunFolder, tables: Tables, tell: RunListener, resume: bool) -> None:
        self.recipe = recipe
        self.place = place
        self.tables = tables
        self.tell = tell
        self.resume = resume
        self.device = resolve_device(recipe.device)
        self.log = MetricsLog(place.metrics)

    def execute(self) -> RunResult:
        split, recipe = self.tables.split, self.recipe
        validation = split.test if recipe.evaluation.validate_on == "test" else split.validation
        if recipe.refit != "none" and len(split.validation) == 0:
            raise ConfigError(
                f"refit = {recipe.refit!r} needs validation rows to choose the epochs on; split.validation gives none"
            )
        fitted = self._fit("select", split.train, validation, None)
        chosen, selected = fitted.training.epoch, fitted.training
        if recipe.refit != "none":
            fitted = self._fit("refit", _joined(split.train, split.validation), None, chosen)
        self.tell("evaluate", f"{len(split.test):,} rows over {len(fitted.phase.catalogue):,} items")
        found = judge(recipe, fitted.phase, fitted.model, split.test, device=self.device)
        summary = self._summary(fitted, found)
        summary["selection"] = {
            "epoch": chosen,
            "epochs_run": selected.epochs_run,
            "validation": dict(selected.records[chosen - 1]["metrics"]) if chosen else {},
        }
        card: dict[str, JSON] = {
            "recipe": recipe.model_dump(mode="json"),
            "result": cast(JSON, {key: value for key, value in summary.items() if key not in ("details", "run_dir")}),
            "versions": _versions(),
            "data": {"fingerprint": self.tables.fingerprint},
            "trained_on": "train rows" if recipe.refit == "none" else "train and validation rows",
        }
        if recipe.refit == "all":
            write_recommender(self.place.measured, recommender_of(fitted, card), card=card)
            everything = np.arange(len(self.tables.interactions))
            fitted = self._fit("production", everything, None, chosen)
            card["trained_on"] = "all rows; the figures are of the model in measured/, which did not see the test rows"
        self.tell("bundle", str(self.place.bundle))
        write_recommender(self.place.bundle, recommender_of(fitted, card), card=card)
        write_json(self.place.result, cast(JSON, summary))
        return RunResult(self.place.path, summary)

    def _fit(
        self, name: str, rows: NDArray[np.int64], validation: NDArray[np.int64] | None, stop_after: int | None
    ) -> FittedModel:
        phase = fit_phase(self.recipe, self.tables, rows)
        _check_trainable(phase)
        identity = [self.recipe.model_dump(mode="json"), self.tables.fingerprint, _versions(), name, stop_after]
        fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

        def listen(event: TrainingEvent) -> None:
            self.log.listen(name, event)
            self.tell(name, event)

        return fit_model(
            self.recipe,
            phase,
            device=self.device,
            validation_rows=validation,
            stop_after=stop_after,
            checkpoints=Checkpoints(self.place.checkpoints(name), fingerprint, resume=self.resume),
            listener=listen,
        )

    def _summary(self, fitted: FittedModel, found: dict[str, Any]) -> dict[str, Any]:
        split = self.tables.split
        return {
            "run_dir": str(self.place.path),
            "recipe": self.recipe.name,
            "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            "metrics": {"test": found["model"]},
            "baselines": {"popularity": found["popularity"], "random": found["random"]},
            "training": {
                "epochs": fitted.training.epochs_run,
                "seconds": fitted.training.seconds,
                "rows_per_s": fitted.training.rows_per_s,
            },
            "evaluation": {"seconds": found["seconds"], **found["counts"]},
            "peak_memory_bytes": _peak_memory(),
            "details": found["details"],
        }


def _joined(*parts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(parts)


def _check_trainable(phase: Phase) -> None:
    users = int(np.unique(phase.train.user_rows.numpy()).size)
    if len(phase.catalogue) < 2 or users < 2:
        raise DataError(
            "training needs at least two users and two items to tell apart; "
            f"the train rows have {users:,} and the catalogue {len(phase.catalogue):,}"
        )


def _versions() -> dict[str, JSON]:
    return {
        "twotower": twotower.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "polars": pl.__version__,
        "python": platform.python_version(),
    }


def _peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
