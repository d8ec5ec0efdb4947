"""A run that goes on from another one: what each of its trainings starts from, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.bundle import JSON
from twotower.errors import ConfigError
from twotower.preprocessing import SequenceFeature
from twotower.runs.fit_model import UntrainedModel, first_validation
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables
from twotower.runs.warm_source import WarmSource
from twotower.runs.warm_start import StartedModel, WarmStart

__all__ = ["WarmRun"]


class WarmRun:
    """The trainings of a run that goes on from another one.

    What is measured goes on from the model that the source was measured with: the choice of epochs and the refit each start
    from it anew. What is shipped with ``refit = "all"`` goes on from what the source ships.

    Args:
        recipe: Of the run.
        tables: What was read.
        source: What it goes on from.

    Attributes:
        select: The start of the choice of epochs.
        refit: The start of what is trained on train and validation rows.
        notes: What a reader of the figures must know.

    Raises:
        ConfigError: If the source learned from rows that the run validates or tests on; if users or items are other columns; or
            if the recipe has a part that can't be carried yet.
        DataError: If ids are of another type.
    """

    def __init__(self, recipe: Recipe, tables: Tables, source: WarmSource) -> None:
        _refuse_parts(recipe)
        self.recipe = recipe
        self.tables = tables
        self.source = source
        self.select = self.refit = WarmStart(recipe, tables, source.measured)
        split = tables.split
        self.notes = self.select.refuse_overlap(split.train, {"validation": split.validation, "test": split.test})
        self._started: StartedModel | None = None
        self._before: Mapping[str, float] = {}

    @cached_property
    def production(self) -> WarmStart:
        """The start of the model that is trained on all rows."""
        return self.select.of(self.source.shipped)

    @property
    def said(self) -> str:
        """What it goes on from, in a few words."""
        return f"went on from {self.source.path}"

    def report_lines(self) -> list[str]:
        """What is learned from, in sentences."""
        learned = self.select.learned_rows(self.tables.split.train)
        replayed = f" and {learned.replayed:,} known ones once more" if learned.replayed else ""
        return [
            f"goes on from {self.source.path}, which knows {learned.known:,} of the {len(self.tables.split.train):,} train "
            f"rows; learns from {learned.new:,} new ones{replayed}"
        ]

    def begin(self, untrained: UntrainedModel, validation: NDArray[np.int64], device: torch.device) -> None:
        """Take note of what the first training starts with, and of how good that is before its first step."""
        self._started = untrained.started
        if len(validation):
            self._before = first_validation(self.recipe, untrained, validation, device)

    def to_json(self) -> dict[str, JSON]:
        """``from``, ``identity``, ``before`` (validation before the first step), and all of `StartedModel.to_json`."""
        started = {} if self._started is None else self._started.to_json()
        return {"from": self.source.path, "identity": self.source.identity, "before": dict(self._before), **started}

    def card(self) -> dict[str, JSON]:
        """What the bundle says of it: ``from``, ``identity``, and ``lineage``, all that it goes back to."""
        return {"from": self.source.path, "identity": self.source.identity, "lineage": list(self.source.lineage)}


def _refuse_parts(recipe: Recipe) -> None:
    """What would be carried wrongly, and silently."""
    if recipe.model.propagation is not None:
        raise ConfigError(
            "model.propagation: a run to go on from ships tables as they are after propagation, and these would be propagated "
            "once more: train anew, without --from"
        )
    for i, entry in enumerate(recipe.query.features):
        if isinstance(entry.feature, SequenceFeature) and entry.feature.columns:
            raise ConfigError(
                f"query.features.{i}.columns: what was learned of columns of events is not matched by value yet, and can't be "
                "carried: train anew, without --from, or leave columns out of both runs"
            )
