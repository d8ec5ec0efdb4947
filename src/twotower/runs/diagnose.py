"""Look at a finished run for what people get wrong in retrieval models."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, TypeVar

import polars as pl

from twotower.diagnosis import (
    Curve,
    Diagnosis,
    Finding,
    Lift,
    NotMade,
    TrainLoss,
    check_features,
    check_head,
    check_leakage,
    check_negatives,
    check_overfitting,
    check_popularity,
    check_serving,
    check_temperature,
    check_train_loss,
    check_vectors,
    check_vocabulary,
    check_width,
    without_consequences,
)
from twotower.errors import BundleError, CheckpointError
from twotower.losses import RetrievalLoss
from twotower.models import ModelBuilder, build
from twotower.runs.feature_evidence import importances, training_data, unknown_values
from twotower.runs.fit_model import OwnParts, UntrainedModel
from twotower.runs.knowledge_evidence import known_of_test, validation_curve
from twotower.runs.load_run import LoadedRun, load_run
from twotower.runs.loss_evidence import batch_negatives, softmax_scale, train_loss
from twotower.runs.probe import Probe, headline, make_probe
from twotower.runs.ranking_evidence import head_shares, popularity_likeness, vectors
from twotower.runs.serving_evidence import served
from twotower.runs.trained_parts import measured_parts, selected_parts

__all__ = ["diagnose", "diagnose_run"]

_Evidence = TypeVar("_Evidence")
_Outcome: TypeAlias = Finding | NotMade | None


def diagnose(
    folder: str | Path,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    builder: ModelBuilder = build,
    loss: Callable[[], RetrievalLoss] | None = None,
    cache_dir: Path | None = None,
) -> Diagnosis:
    """Read a run, and check it; see `diagnose_run`.

    Args:
        folder: A run folder, or a bundle of one, of which some checks can't be made.
        interactions: In place of the recipe's table, as for the run.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        builder: What built the model, where it was one of your own.
        loss: What made the loss, where it was one of your own.
        cache_dir: Where public data sets are kept; None for the default.

    Raises:
        BundleError: If the folder holds no finished run, or only a model that has seen the test rows.
        DataError: If the tables are no longer those of the run.
    """
    loaded = load_run(folder, interactions=interactions, items=items, users=users, builder=builder, cache_dir=cache_dir)
    return diagnose_run(loaded, builder=builder, loss=loss)


def diagnose_run(
    loaded: LoadedRun, *, builder: ModelBuilder = build, loss: Callable[[], RetrievalLoss] | None = None
) -> Diagnosis:
    """Make every check on a run; nothing in its folder changes.

    The model is asked about validation rows, and where the final model was refitted on them, it is the model of before, from
    the checkpoint of the choice of epochs. Only where there are no such rows, test rows stand in, for checks by which no
    feature and no temperature is chosen. Rows, queries and items are sampled where there are many, with fixed seeds: the same
    run gives the same findings.

    Args:
        loaded: The run.
        builder: What built the model, where it was one of your own.
        loss: What made the loss, where it was one of your own.
    """
    patient = _Patient(loaded, OwnParts(builder, loss))
    checks: dict[str, Callable[[], _Outcome]] = {
        "collapsed_vectors": patient.collapsed_vectors,
        "stuck_loss": patient.stuck_loss,
        "temperature": patient.temperature,
        "false_negatives": patient.false_negatives,
        "popularity_only": patient.popularity_only,
        "head_bias": patient.head_bias,
        "overfitting": patient.overfitting,
        "leakage": patient.leakage,
        "idle_features": patient.idle_features,
        "serving_mismatch": patient.serving_mismatch,
        "out_of_vocabulary": patient.out_of_vocabulary,
        "too_little_data": patient.too_little_data,
    }
    findings: list[Finding] = []
    not_made: dict[str, str] = {}
    for code, check in checks.items():
        try:
            outcome = check()
        except (BundleError, CheckpointError) as error:  # a bundle without its run folder, or a checkpoint of other parts
            outcome = NotMade(str(error))
        if isinstance(outcome, Finding):
            findings.append(outcome)
        elif isinstance(outcome, NotMade):
            not_made[code] = outcome.reason
    return Diagnosis(without_consequences(findings), tuple(code for code in checks if code not in not_made), not_made)


class _Patient:
    """A run, and what several checks look at, made once."""

    def __init__(self, loaded: LoadedRun, own: OwnParts) -> None:
        self.loaded = loaded
        self.own = own
        self.recipe = loaded.recipe
        self.wanted = headline(loaded.recipe)

    @cached_property
    def measured(self) -> UntrainedModel:
        return measured_parts(self.loaded, self.own)

    @cached_property
    def selected(self) -> UntrainedModel | NotMade:
        return selected_parts(self.loaded, self.own)

    @cached_property
    def fresh(self) -> Probe | NotMade:
        """Validation rows, asked of a model that was not trained on them."""
        if isinstance(self.selected, NotMade):
            return self.selected
        rows = self.loaded.tables.split.validation
        if not len(rows):
            return NotMade("the split has no validation rows")
        return make_probe(self.loaded, self.selected.model, self.selected.phase, rows, of_test=False)

    @cached_property
    def probe(self) -> Probe:
        """The same, or test rows where there are none: every run has some."""
        if isinstance(self.fresh, Probe):
            return self.fresh
        rows = self.loaded.tables.split.test
        return make_probe(self.loaded, self.measured.model, self.measured.phase, rows, of_test=True)

    @cached_property
    def train_loss(self) -> TrainLoss:
        return train_loss(self.measured, first=self._first_loss())

    @cached_property
    def lift(self) -> Lift:
        return self.probe.lift(self.wanted)

    @property
    def not_learned(self) -> NotMade | None:
        return NotMade("retrieval was not learned (loss.weight = 0)") if self.recipe.loss.weight == 0 else None

    def collapsed_vectors(self) -> _Outcome:
        return self.not_learned or check_vectors(vectors(self.measured, self.lift, trained=self.train_loss.fallen))

    def stuck_loss(self) -> _Outcome:
        return self.not_learned or check_train_loss(self.train_loss)

    def temperature(self) -> _Outcome:
        if isinstance(self.fresh, Probe) and isinstance(self.selected, UntrainedModel):
            return self.not_learned or _checked(softmax_scale(self.recipe, self.selected, self.fresh), check_temperature)
        return self.not_learned or _checked(softmax_scale(self.recipe, self.measured, None), check_temperature)

    def false_negatives(self) -> _Outcome:
        return self.not_learned or _checked(batch_negatives(self.recipe, self.measured), check_negatives)

    def popularity_only(self) -> _Outcome:
        return self.not_learned or _checked(popularity_likeness(self.probe, self.lift), check_popularity)

    def head_bias(self) -> _Outcome:
        return self.not_learned or _checked(head_shares(self.measured, self.probe, self.wanted), check_head)

    def overfitting(self) -> _Outcome:
        kept = int(self.loaded.result["selection"]["epoch"])
        curve: Curve | NotMade = validation_curve(
            self.recipe, self.loaded.phase, self.loaded.records, kept_epoch=kept, wanted=self.wanted
        )
        return _checked(curve, check_overfitting)

    def leakage(self) -> _Outcome:
        return check_leakage(known_of_test(self.loaded))

    def idle_features(self) -> _Outcome:
        if isinstance(self.fresh, NotMade):
            return self.fresh
        return self.not_learned or _checked(importances(self.fresh, self.wanted), check_features)

    def serving_mismatch(self) -> _Outcome:
        return check_serving(served(self.loaded))

    def out_of_vocabulary(self) -> _Outcome:
        return check_vocabulary(unknown_values(self.loaded.recommender.model, self.loaded.phase, self.loaded.tables.split.test))

    def too_little_data(self) -> _Outcome:
        return check_width(training_data(self.recipe, self.loaded.recommender.model, self.loaded.phase))

    def _first_loss(self) -> float | None:
        """Of the training that made the measured model; the record of a run with tasks is of all of them together."""
        if self.recipe.tasks or not self.loaded.place.metrics.exists():
            return None
        name = "select" if self.recipe.refit == "none" else "refit"
        return next((float(record["loss"]) for record in self.loaded.records if record["phase"] == name), None)


def _checked(evidence: _Evidence | NotMade, check: Callable[[_Evidence], Finding | None]) -> _Outcome:
    return evidence if isinstance(evidence, NotMade) else check(evidence)
