"""The trainings of a run, which all its ranks take part in: to choose the epoch, to be measured, to be shipped."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

import twotower
from twotower.bundle import JSON
from twotower.columnar import Converting
from twotower.distributed import Ranks
from twotower.runs.fit_model import FittedModel, OwnParts, UntrainedModel, fit_model, untrained_model
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import MetricsLog, RunFolder, without_where
from twotower.runs.tables import Tables
from twotower.runs.warm_run import WarmRun
from twotower.runs.warm_source import keep_learned_rows
from twotower.training import Checkpoints, TrainingEvent, TrainingResult

__all__ = ["Measured", "RunListener", "Trainings", "versions"]

RunListener: TypeAlias = Callable[[str, TrainingEvent | Converting | str], None]
"""Is told the phase (``data``, ``select``, ``refit``, ``production``, ``evaluate``, ``bundle``) and an event or a sentence."""


@dataclass(frozen=True)
class Measured:
    """The model that is judged.

    Attributes:
        fitted: The model.
        chosen: The epoch that was chosen.
        selected: The training that it was chosen in.
    """

    fitted: FittedModel
    chosen: int
    selected: TrainingResult


class Trainings:
    """The trainings of one run.

    Args:
        recipe: Of the run.
        place: Its folder, which rank 0 holds.
        tables: What was read.
        device: Where to train.
        own: Parts that are passed from Python.
        tell: Is told of events.
        resume: Whether to go on from checkpoints.
        warm: What the run goes on from; None: it begins anew.
        ranks: All of them go through the same trainings.

    Attributes:
        validation: Rows that the epoch is chosen on.
    """

    def __init__(
        self,
        recipe: Recipe,
        place: RunFolder,
        tables: Tables,
        device: torch.device,
        own: OwnParts,
        tell: RunListener,
        *,
        resume: bool,
        warm: WarmRun | None,
        ranks: Ranks,
    ) -> None:
        self.recipe = recipe
        self.place = place
        self.tables = tables
        self.device = device
        self.own = own
        self.tell = tell
        self.resume = resume
        self.warm = warm
        self.ranks = ranks
        split = tables.split
        self.validation = split.test if recipe.evaluation.validate_on == "test" else split.validation
        self._log = MetricsLog(place.metrics)

    def measured(self, untrained: UntrainedModel) -> Measured:
        """Choose the epoch, and train what is judged.

        Args:
            untrained: For the train rows.
        """
        fitted = self._fit("select", untrained, self.validation, None)
        chosen, selected = fitted.training.epoch, fitted.training
        if self.recipe.refit != "none":
            split, warm = self.tables.split, self.warm
            rows = np.concatenate([split.train, split.validation])
            start = None if warm is None else warm.refit
            untrained = untrained_model(self.recipe, self.tables, rows, self.own, warm=start, ranks=self.ranks)
            fitted = self._fit("refit", untrained, None, chosen)
        return Measured(fitted, chosen, selected)

    def production(self, chosen: int) -> FittedModel:
        """Train on every row.

        Args:
            chosen: For how many epochs.
        """
        rows = np.arange(len(self.tables.interactions))
        start = None if self.warm is None else self.warm.production
        untrained = untrained_model(self.recipe, self.tables, rows, self.own, warm=start, ranks=self.ranks)
        return self._fit("production", untrained, None, chosen)

    def _fit(
        self, name: str, untrained: UntrainedModel, validation: NDArray[np.int64] | None, stop_after: int | None
    ) -> FittedModel:
        if untrained.started is not None:
            keep_learned_rows(self.place, name, untrained.started.learned.rows)
        identity = [
            without_where(self.recipe),
            self.tables.fingerprint,
            {**versions(), "torch": torch.__version__.split("+")[0]},  # whichever device it was built for
            self.own.names(),
            name,
            stop_after,
            *(() if self.warm is None else (self.warm.source.identity,)),
        ]
        fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

        def listen(event: TrainingEvent) -> None:
            self._log.listen(name, event)
            self.tell(name, event)

        return fit_model(
            self.recipe,
            untrained,
            device=self.device,
            validation_rows=validation,
            stop_after=stop_after,
            checkpoints=Checkpoints(self.place.checkpoints(name), fingerprint, resume=self.resume),
            listener=listen,
            ranks=self.ranks,
        )


def versions() -> dict[str, JSON]:
    """Of what has a part in how a training goes."""
    return {
        "twotower": twotower.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "polars": pl.__version__,
        "python": platform.python_version(),
    }
