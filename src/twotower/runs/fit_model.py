"""One training of a run: loss, batches and model from the recipe, trained on a phase's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data import Batches, Examples
from twotower.data.batches import CandidateSource
from twotower.distributed import ALONE, Ranks
from twotower.errors import ConfigError, DataError
from twotower.evaluation import Evaluation, evaluate, evaluate_per_user
from twotower.losses import CountMinSketch, RetrievalLoss, StreamedLogQ, log_q_from_counts, mixture_log_q
from twotower.models import ModelBuilder, TwoTower, build, builder_name, check_columns
from twotower.runs.build_loss import build_loss
from twotower.runs.judge import model_ranker
from twotower.runs.judge_outcomes import outcome_errors
from twotower.runs.model_spec import asked_updates, model_spec
from twotower.runs.phase import Phase, fit_phase
from twotower.runs.propagation import propagate_tables
from twotower.runs.recipe import Recipe
from twotower.runs.split_tables import build_with_split_tables
from twotower.runs.table_updates import TableUpdate, TouchedRows, decide_updates, with_updates
from twotower.runs.tables import Tables
from twotower.runs.tasks import head_specs, objective
from twotower.runs.warm_start import LearnedRows, StartedModel, WarmStart
from twotower.runs.watched import PER_USER, REMOVED, Watched
from twotower.spec import HeadSpec
from twotower.training import Checkpoints, Listener, TrainingResult, nobody, train

__all__ = [
    "FittedModel",
    "OwnParts",
    "UntrainedModel",
    "build_model",
    "first_validation",
    "fit_model",
    "untrained_model",
]


@dataclass(frozen=True)
class OwnParts:
    """Parts of one's own, passed from Python; no recipe names them, and a bundle holds their weights, never their code.

    Attributes:
        builder: Builds the model from its spec.
        loss: Makes a fresh loss for each training; None: the recipe's.
    """

    builder: ModelBuilder = build
    loss: Callable[[], RetrievalLoss] | None = None

    def make_loss(self, recipe: Recipe, catalogue_size: int) -> RetrievalLoss:
        """The loss that a recipe was trained with, fresh."""
        return (
            self.loss()
            if self.loss
            else build_loss(recipe.loss, catalogue_size=catalogue_size, batch_size=recipe.training.batch_size)
        )

    def names(self) -> list[str]:
        """What a checkpoint remembers them by."""
        return [builder_name(self.builder), "" if self.loss is None else getattr(self.loss, "__qualname__", repr(self.loss))]


@dataclass(frozen=True)
class FittedModel:
    """A trained model with what it was trained on.

    Attributes:
        phase: Preprocessing and rows.
        model: In evaluation mode, on the device.
        loss: With its learned temperature, if any.
        training: Epochs, records, speed.
        device: Where the model is.
    """

    phase: Phase
    model: TwoTower
    loss: RetrievalLoss
    training: TrainingResult
    device: torch.device


@dataclass(frozen=True)
class UntrainedModel:
    """A model that was not trained yet, and all that its training needs.

    Attributes:
        phase: Preprocessing and rows.
        model: On the CPU.
        loss: As the recipe asks for.
        batches: Of the phase's train rows.
        log_q_N: log of each catalogue item's sampling probability; None where nothing is corrected, or a sketch counts.
        updates: How each table is updated, and why.
        streamed_log_q: Where the recipe has a sketch: what training takes in place of ``log_q_N``.
        started: What it goes on from; None: its weights are fresh.
    """

    phase: Phase
    model: TwoTower
    loss: RetrievalLoss
    batches: Batches
    log_q_N: Tensor | None
    updates: tuple[TableUpdate, ...] = ()
    streamed_log_q: StreamedLogQ | None = None
    started: StartedModel | None = None

    def expected_log_q(self) -> Tensor | None:
        """What training corrects by; where a sketch counts, what it would come to if it held all counts."""
        streamed = self.streamed_log_q
        if streamed is None:
            return self.log_q_N
        return _counted_log_q(self.phase, streamed.rows_drawn, streamed.num_uniform)


def build_model(
    recipe: Recipe,
    phase: Phase,
    own: OwnParts = OwnParts(),
    *,
    heads: tuple[HeadSpec, ...] | None = None,
    warm: WarmStart | None = None,
    learned: LearnedRows | None = None,
    ranks: Ranks = ALONE,
) -> UntrainedModel:
    """Build what a recipe asks for, for a phase.

    Args:
        recipe: Towers, tables, loss and batches.
        phase: Preprocessing and rows.
        own: Parts that are passed from Python.
        heads: Of the tasks; None: what fitting finds.
        warm: What to go on from; None: begin with fresh weights.
        learned: With ``warm``: which rows are learned from, as the phase was encoded.
        ranks: Those that train it; each takes its share of every batch.

    Raises:
        ConfigError: If towers, tables and columns do not fit each other; all faults at once. If a builder of one's own gives a
            model without the heads of the tasks, or towers that a propagation would not reach. If a part of what to go on from
            does not fit the model.
        DataError: If the outcomes of a task can't be fitted.
    """
    catalogue_size, batch_size = len(phase.catalogue), recipe.training.batch_size
    if heads is None:
        heads = head_specs(recipe, phase.train) if warm is None else warm.heads(head_specs(recipe, _all_outcomes(phase)))
    spec = model_spec(recipe, phase.preprocessor, heads)
    check_columns(spec.query, phase.preprocessor.query_columns, name="query")
    check_columns(spec.candidate, phase.preprocessor.candidate_columns, name="candidate")
    loss = own.make_loss(recipe, catalogue_size)
    batches = Batches(
        phase.train,
        batch_size=batch_size,
        catalogue_size=catalogue_size,
        seed=recipe.seed,
        candidates=_candidates(loss) if recipe.loss.weight > 0 else "in_batch",
        extra_negatives=recipe.loss.extra_negatives,
        queue_batches=recipe.loss.queue_batches if recipe.loss.weight > 0 else 0,
        mask_known_positives=recipe.loss.mask_known_positives,
        users=loss.needs_users,
    )
    log_q_N = streamed_log_q = None
    if loss.uses_log_q:
        rows_drawn = min(batch_size, len(phase.train)) * (1 + recipe.loss.queue_batches)
        extra, sketch = recipe.loss.extra_negatives, recipe.loss.sketch
        if sketch is None:
            log_q_N = _counted_log_q(phase, rows_drawn, extra)
        else:
            counts = CountMinSketch(sketch.width, sketch.depth, seed=recipe.seed)
            streamed_log_q = StreamedLogQ(counts, rows_drawn=rows_drawn, num_uniform=extra, catalogue_size=catalogue_size)
    updates = decide_updates(recipe, spec, asked_updates(recipe, phase.preprocessor), TouchedRows(spec, batches, phase.items))
    if ranks.size > 1:  # how tables are updated was decided by whole batches
        batches.share = ranks.share
    model = build_with_split_tables(recipe, with_updates(spec, updates), own.builder, ranks)
    missing = [task.name for task in recipe.tasks if task.name not in model.head_names]
    if missing:
        raise ConfigError(
            f"the builder {builder_name(own.builder)} gives a model without a head for {', '.join(map(repr, missing))}; hand "
            "them on, TwoTower(..., heads=[build_head(head, ...) for head in spec.heads]), or leave [[tasks]] out",
            source="recipe",
        )
    started = None if warm is None or learned is None else warm.start(model, phase.preprocessor, loss, learned)
    if recipe.model.propagation is not None:
        propagate_tables(model, recipe, phase)
    return UntrainedModel(phase, model, loss, batches, log_q_N, tuple(updates), streamed_log_q, started)


def _counted_log_q(phase: Phase, rows_drawn: int, num_uniform: int) -> Tensor:
    size = len(phase.catalogue)
    drawn_N = torch.bincount(phase.train.item_rows, minlength=size).float()
    return mixture_log_q(log_q_from_counts(drawn_N), rows_drawn, num_uniform, size)


def _all_outcomes(phase: Phase) -> Examples:
    """The phase's examples with the outcomes of all its rows, few of which may be learned from."""
    rows = torch.from_numpy(phase.fit_rows)
    return replace(phase.train, outcomes={name: values[rows] for name, values in phase.outcomes.items()})


def _candidates(loss: RetrievalLoss) -> CandidateSource:
    """What competes; where retrieval is not learned, a head needs no other items than the rows' own."""
    if loss.needs_full_catalogue:
        return "catalogue"
    return "uniform" if loss.uniform_negatives else "in_batch"


def untrained_model(
    recipe: Recipe,
    tables: Tables,
    rows: NDArray[np.int64],
    own: OwnParts = OwnParts(),
    *,
    warm: WarmStart | None = None,
    ranks: Ranks = ALONE,
) -> UntrainedModel:
    """Fit preprocessing on some rows, and build the model that will be trained on them.

    Args:
        recipe: All but the loop.
        tables: What was read.
        rows: Row numbers of the interactions.
        own: Parts that are passed from Python.
        warm: What to go on from, and so which of the rows are learned from; None: begin with fresh weights, and learn from all.
        ranks: Those that train it; all of them call this.

    Raises:
        ConfigError: As `build_model`.
        DataError: If the rows leave nothing to tell apart, or nothing new to learn; or a feature or an outcome can't be fitted.
    """
    learned = None if warm is None else warm.learned_rows(rows)
    phase = (
        fit_phase(recipe, tables, rows, ranks=ranks)
        if warm is None or learned is None
        else fit_phase(recipe, tables, rows, learn_from=learned.rows, adapt=warm.keep, ranks=ranks)
    )
    users = int(np.unique(phase.train.user_rows.numpy() if warm is None else tables.user_rows[rows]).size)
    if len(phase.catalogue) < 2 or users < 2:
        raise DataError(
            "training needs at least two users and two items to tell apart; "
            f"the train rows have {users:,} and the catalogue {len(phase.catalogue):,}"
        )
    return build_model(recipe, phase, own, warm=warm, learned=learned, ranks=ranks)


def fit_model(
    recipe: Recipe,
    untrained: UntrainedModel,
    *,
    device: torch.device,
    validation_rows: NDArray[np.int64] | None = None,
    stop_after: int | None = None,
    checkpoints: Checkpoints | None = None,
    listener: Listener | None = None,
    ranks: Ranks = ALONE,
) -> FittedModel:
    """Train a model, in place.

    Args:
        recipe: Training, and how validation measures.
        untrained: From `build_model`.
        device: Where.
        validation_rows: Rows of the interactions to validate on; None or empty: train to the end, no early stopping.
        stop_after: Stop after so many epochs, under the schedule of the recipe.
        checkpoints: Where to keep them; None keeps none.
        listener: Is told of steps and epochs.
        ranks: Those that train it; all of them call this.
    """
    phase, model, loss = untrained.phase, untrained.model, untrained.loss
    validating = validation_rows is not None and len(validation_rows) > 0
    config = recipe.training if validating else recipe.training.model_copy(update={"early_stopping": None})
    result = train(
        model,
        loss,
        untrained.batches,
        phase.items,
        config=config,
        seed=recipe.seed,
        device=device,
        stop_after=stop_after,
        log_q_N=untrained.log_q_N,
        streamed_log_q=untrained.streamed_log_q,
        objective=objective(recipe),
        validate=_validation(recipe, phase, validation_rows, device, ranks)
        if validating and validation_rows is not None
        else None,
        checkpoints=checkpoints,
        optimizer_states=None if untrained.started is None else untrained.started.states,
        listener=nobody if listener is None else listener,
        ranks=ranks,
    )
    model.embeddings.settle()  # what follows, and what is shipped, needs no graph
    return FittedModel(phase, model, loss, result, device)


def first_validation(
    recipe: Recipe, untrained: UntrainedModel, rows: NDArray[np.int64], device: torch.device
) -> Mapping[str, float]:
    """What validation gives before the first step.

    Args:
        recipe: How validation measures.
        untrained: From `build_model`; its model is moved to the device.
        rows: Of the interactions.
        device: Where.
    """
    model = untrained.model.to(device).eval()
    return _validation(recipe, untrained.phase, rows, device, ALONE)(model)


def _validation(
    recipe: Recipe, phase: Phase, rows: NDArray[np.int64], device: torch.device, ranks: Ranks
) -> Callable[[TwoTower], Mapping[str, float]]:
    most = recipe.evaluation.max_validation_rows
    if most is not None and most < len(rows):
        rows = np.sort(np.random.default_rng(recipe.seed).choice(rows, most, replace=False))
    examples = phase.examples(rows, grow=phase.grows)
    ks, stopping = recipe.evaluation.ks, recipe.training.early_stopping
    per_user = stopping is not None and Watched.of(stopping.metric).per_user

    def validate(model: TwoTower) -> dict[str, float]:
        scorer = model_ranker(model, phase, device=device, ranks=ranks)(examples)
        figures = _both(evaluate(scorer, examples, ks=ks, draws=0))
        if per_user:  # another scoring of the catalogue, which nobody pays for who does not ask
            figures |= _both(evaluate_per_user(scorer, examples, ks=ks, draws=0), PER_USER)
        errors = {
            f"{task.name} {figure}": value
            for task in recipe.tasks
            for figure, value in outcome_errors(task, model, phase, examples, device=device, ranks=ranks).items()
        }
        return {**figures, **errors}

    return validate


def _both(found: Evaluation, unit: str = "") -> dict[str, float]:
    """The figures that validation gives, seen items included and removed, by name."""
    variants = (("", found.seen_included.values), (REMOVED, found.seen_removed.values))
    return {
        f"{key}{unit}{removed}": value
        for removed, values in variants
        for key, value in values.items()
        if key == "mrr" or key.startswith(("recall@", "ndcg@"))
    }
