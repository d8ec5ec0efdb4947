"""The training loop: plain, resumable at any batch, the same bits for the same seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.data.batches import Batch, Batches
from twotower.distributed import ALONE, Ranks, speaking
from twotower.errors import ConfigError, TrainingError
from twotower.losses import RetrievalLoss, StreamedLogQ
from twotower.models import TwoTower
from twotower.optim import (
    apply_learning_rate_factor,
    clip_gradients,
    learning_rate_factor,
    let_steps_be_recorded,
    rowwise_adagrad_numbers,
)
from twotower.training.ahead import StepsAhead
from twotower.training.captured import checked_capture
from twotower.training.checkpoint import Progress
from twotower.training.config import TrainingConfig
from twotower.training.early_stopping import judge
from twotower.training.events import EpochDone, Listener, StepDone, TrainingEvent, TrainingStarted, nobody
from twotower.training.kept_state import Checkpoints, KeptState
from twotower.training.optimizer_states import States, TrainedParameters, put_states
from twotower.training.over_ranks import sum_gradients
from twotower.training.random_state import borrowed_random_state, seed_step
from twotower.training.resident import resident_batches
from twotower.training.result import TrainingResult
from twotower.training.step import Place, batch_losses, explain_divergence
from twotower.training.tasks import RETRIEVAL, RETRIEVAL_ALONE, Objective
from twotower.types import Features, column_to

__all__ = ["train"]


def train(
    model: TwoTower,
    loss: RetrievalLoss,
    batches: Batches,
    items: Features,
    *,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    stop_after: int | None = None,
    log_q_N: Tensor | None = None,
    streamed_log_q: StreamedLogQ | None = None,
    objective: Objective = RETRIEVAL_ALONE,
    validate: Callable[[TwoTower], Mapping[str, float]] | None = None,
    checkpoints: Checkpoints | None = None,
    listener: Listener = nobody,
    optimizer_states: States | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train a model in place.

    Args:
        model: Moved to the device; holds the chosen epoch's weights afterwards.
        loss: Its learned temperature, if any, is trained too and ends at the same epoch.
        batches: The feed.
        items: Features of the whole catalogue.
        config: Epochs, optimiser, schedule, early stopping.
        seed: Of dropout; every step seeds torch anew from it, and torch's global random state is put back at the end.
        device: Where to train.
        stop_after: Stop after so many epochs, in ``[1, config.epochs]``, the learning rate's schedule still being planned over
            ``config.epochs``. None: ``config.epochs``.
        log_q_N: log of each catalogue item's sampling probability, float ``[N]``.
        streamed_log_q: In its place: counts the positives of every batch; its state is a part of every checkpoint, and ends at
            the same epoch as the weights.
        objective: Tasks beside retrieval, for each of which the model has a head, and the weight of every loss.
        validate: Called with the model in evaluation mode, on all ranks; returns figures by name, of which those of rank 0
            count. None: no early stopping either.
        checkpoints: None writes nothing.
        listener: Is told of every step and epoch. An error that it raises ends the training, which can then be resumed.
        optimizer_states: What the optimisers go on with instead of starting anew, by name of the parameter (``model.`` or
            ``loss.`` in front) and of the entry; None: nothing.
        ranks: The processes that train together; all of them call this, with models and losses whose weights are the same, and
            batches of which each has its share (`Batches.share`). Rank 0 alone tells the listener.

    Returns:
        What was trained, and which epoch the model now holds; the model and the loss are left in evaluation mode.

    Raises:
        TrainingError: If the loss, a gradient, a weight or the figure of early stopping is not a finite number. No checkpoint
            holds such weights.
        ConfigError: If early stopping names a metric that validation does not return, or the model lacks a task's head.
        CheckpointError: If the checkpoint to resume from is damaged or of another run.
        ValueError: If ``stop_after`` is out of range, the loss gives one value per row, or log Q is given in two ways.
    """
    if log_q_N is not None and streamed_log_q is not None:
        raise ValueError("log_q_N and streamed_log_q say the same: give one of them")
    if stop_after is not None and not 1 <= stop_after <= config.epochs:
        raise ValueError(f"stop_after must be in [1, {config.epochs}], the epochs of the schedule; came {stop_after}")
    if loss.reduction == "none":
        raise ValueError("training needs one loss per batch: make the loss with reduction 'mean' or 'sum'; came 'none'")
    missing = [task.name for task in objective.tasks if task.name not in model.head_names]
    if missing:
        raise ConfigError(
            f"the model must have a head for every task; it has none for {', '.join(map(repr, missing))}: a builder of your "
            "own hands them on, TwoTower(..., heads=[build_head(spec, ...) for spec in spec.heads])"
        )
    with borrowed_random_state(device) as generators:
        return _Loop(
            model,
            loss,
            batches,
            items,
            config,
            seed,
            device,
            generators,
            config.epochs if stop_after is None else stop_after,
            log_q_N,
            streamed_log_q,
            objective,
            validate,
            checkpoints,
            listener,
            optimizer_states or {},
            ranks,
        ).run()


@dataclass
class _Loop:
    model: TwoTower
    loss: RetrievalLoss
    batches: Batches
    items: Features
    config: TrainingConfig
    seed: int
    device: torch.device
    generators: tuple[torch.Generator, ...]
    epochs: int
    log_q_N: Tensor | None
    streamed_log_q: StreamedLogQ | None
    objective: Objective
    validate: Callable[[TwoTower], Mapping[str, float]] | None
    checkpoints: Checkpoints | None
    listener: Listener
    optimizer_states: States
    ranks: Ranks

    def __post_init__(self) -> None:
        self.model.to(self.device)
        self.loss.to(self.device)
        items = self.items
        self.items = {name: column_to(column, self.device) for name, column in items.items()}
        self.log_q_N = None if self.log_q_N is None else self.log_q_N.to(self.device)
        trained = TrainedParameters(self.model, self.loss, self.config.optimizer)
        self.modules: dict[str, nn.Module] = dict(trained.modules)
        self.parameters = [parameter for _, parameter in trained.named]
        self.optimizers: list[Optimizer] = trained.optimizers
        if self.optimizer_states:
            put_states(trained, self.optimizer_states)
        if self.streamed_log_q is not None:  # what it has counted is a part of where training stands
            self.modules["streamed_log_q"] = self.streamed_log_q
        self.total_steps = self.config.epochs * len(self.batches)
        self.tables = trained.tables
        self.table_rate = rowwise_adagrad_numbers(self.config.optimizer)[0]
        splits = self.config.sharding != "local"
        self.kept = KeptState(trained, self.modules, self.checkpoints, self.ranks, splits=splits)
        self.progress = Progress()
        self.ahead = self._steps_ahead(items)

    def _steps_ahead(self, items: Features) -> StepsAhead | None:
        """What queues steps on an accelerator; None where each is waited for: on a CPU, and where ranks meet in every step."""
        config = self.config
        capture = checked_capture(
            config.cuda_graph,
            self.model,
            self.loss,
            self.batches,
            items,
            self.objective,
            optimizer=config.optimizer,
            device=self.device,
            ranks=self.ranks.size,
            streamed_log_q=self.streamed_log_q is not None,
        )
        if self.device.type == "cpu" or self.ranks.size > 1:
            return None
        self.batches = resident_batches(self.batches, self.device, config.resident_data, needed=capture is not None)
        return StepsAhead(
            self.model,
            self.loss,
            self.batches,
            self.items,
            self.log_q_N,
            self.streamed_log_q,
            self.objective,
            self.parameters,
            self.optimizers,
            config.clip_norm,
            self.device,
            capture,
        )

    def run(self) -> TrainingResult:
        with self.kept:
            return self._run()

    def _run(self) -> TrainingResult:
        progress = self.progress = self.kept.open()
        if self.ahead is not None and self.device.type != "mps":  # which has no such AdamW, and no float64
            let_steps_be_recorded(self.optimizers, self.device, captured=self.ahead.capture is not None)
        self._tell(
            TrainingStarted(
                progress.epoch,
                progress.batch,
                self.epochs,
                len(self.batches),
                len(self.batches.examples),
                tuple(progress.records),
                self.kept.refused,
            )
        )
        while progress.epoch < self.epochs and not progress.stopped:
            self._epoch()
        progress.stopped = True
        epoch = self.kept.finish(progress)
        trained = sum(record["rows"] for record in progress.records)
        self.model.eval()
        self.loss.eval()
        return TrainingResult(
            epoch=epoch,
            epochs_run=progress.epoch,
            records=tuple(progress.records),
            seconds=progress.seconds,
            rows_per_s=trained / progress.seconds if progress.seconds > 0 else 0.0,
        )

    def _tell(self, event: TrainingEvent) -> None:
        if self.ranks.first:
            self.listener(event)

    def _epoch(self) -> None:
        progress = self.progress
        self.model.train()
        self.loss.train()
        began, before = time.perf_counter(), progress.seconds
        while progress.batch < len(self.batches):
            batch = None if self.ahead is not None else self.batches.batch(progress.epoch, progress.batch)
            where = Place(progress.epoch, progress.batch, progress.step, self._set_learning_rate())
            due = self._queue(where) if batch is None else self._step(batch, where)
            progress.seconds = before + time.perf_counter() - began
            finished = progress.batch == len(self.batches)
            if due or finished:
                self._catch_up()
                progress.seconds = before + time.perf_counter() - began
                self._require_finite_weights(where)
            if due and not finished:
                self.kept.save(progress)
        seconds = progress.seconds - before
        progress.epoch += 1
        progress.batch = 0
        last = progress.epoch == self.epochs
        due = progress.epoch % self.config.validate_every == 0 or last
        metrics = self._validate() if self.validate is not None and due else {}
        best_before = progress.best_epoch
        best = judge(progress, metrics, self.config.early_stopping) if metrics else False
        loss = progress.loss_sum / progress.rows
        losses = {name: total / progress.rows for name, total in progress.task_sums.items()}
        done = EpochDone(progress.epoch, loss, where.learning_rate, metrics, best, progress.rows, seconds, losses)
        progress.records.append(done.to_json())
        progress.loss_sum, progress.rows, progress.task_sums = 0.0, 0, {}
        if best:
            self.kept.keep_best(progress, best_before)
        if self.ranks.tell(best or self.kept.due(self.config.checkpoint_every_s)):
            self.kept.save(progress)
        self._tell(done)

    def _set_learning_rate(self) -> float:
        factor = learning_rate_factor(self.progress.step, self.total_steps, self.config.schedule)
        apply_learning_rate_factor(self.optimizers, factor)
        if self.tables is not None:
            self.tables.set_learning_rate(self.table_rate * factor)
        return float(self.optimizers[0].param_groups[0]["initial_lr"]) * factor if self.optimizers else self.table_rate * factor

    def _queue(self, where: Place) -> bool:
        """One step that is not waited for; whether it is time for a checkpoint afterwards."""
        assert self.ahead is not None
        seed_step(self.generators, seed=self.seed, step=where.step)
        read = self.ahead.queue(where)
        self.progress.batch += 1
        self.progress.step += 1
        if read:
            self._catch_up()
        return self.kept.due(self.config.checkpoint_every_s)

    def _catch_up(self) -> None:
        """Take in what queued steps came to."""
        for done in () if self.ahead is None else self.ahead.read():
            if not math.isfinite(done.loss):
                raise self._divergence("the loss", done.where)
            if done.norm is not None and not math.isfinite(done.norm):
                raise self._divergence("a gradient", done.where)
            names = [task.name for task in self.objective.tasks]
            if names and self.objective.retrieval > 0:
                names.insert(0, RETRIEVAL)
            self._add(done.where, done.rows, done.loss, dict(zip(names, done.parts, strict=True)))

    def _step(self, batch: Batch, where: Place) -> bool:
        """One step; whether it is time for a checkpoint afterwards."""
        progress = self.progress
        seed_step(self.generators, seed=self.seed, step=progress.step, rank=self.ranks.rank)
        if self.loss.reduction == "mean" and not batch.total_weight > 0:
            raise self._divergence("the mean loss", where)
        values = batch_losses(
            self.model,
            self.loss,
            batch,
            self.items,
            log_q_N=self.log_q_N,
            device=self.device,
            objective=self.objective,
            streamed_log_q=self.streamed_log_q,
            ranks=self.ranks,
        )
        value = self.objective.total(values)
        for parameter in self.parameters:
            parameter.grad = None
        with speaking(self.ranks, among_others=True):  # TorchRec exchanges gradients of tables
            value.backward()  # type: ignore[no-untyped-call]
        # read after the backward pass was queued, so that an accelerator does not wait for it
        loss, parts, due = self._summed(value, values)
        if not math.isfinite(loss):
            raise self._divergence("the loss", where)
        clip_norm = self.config.clip_norm
        if clip_norm is not None and not math.isfinite(clip_gradients(self.parameters, clip_norm)):
            raise self._divergence("a gradient", where)
        for optimizer in self.optimizers:
            optimizer.step()
        progress.batch += 1
        progress.step += 1
        self._add(where, batch.total_rows, loss, parts)
        return due

    def _add(self, where: Place, rows: int, loss: float, parts: Mapping[str, float]) -> None:
        """Add what a step came to, and tell it."""
        progress = self.progress
        per_row = 1 / rows if self.loss.reduction == "sum" else 1.0
        summed = loss if self.loss.reduction == "sum" else loss * rows
        losses = {name: part * per_row for name, part in parts.items()}
        progress.loss_sum += summed
        progress.task_sums = {name: progress.task_sums.get(name, 0.0) + part * rows for name, part in losses.items()}
        progress.rows += rows
        self._tell(StepDone(where.epoch, where.batch + 1, where.step + 1, rows, summed / rows, losses))

    def _summed(self, value: Tensor, values: Mapping[str, Tensor]) -> tuple[float, dict[str, float], bool]:
        """The loss of the batch, those of the tasks where there are some, and whether it is time for a checkpoint."""
        parts = values if self.objective.tasks else {}
        due = self.kept.due(self.config.checkpoint_every_s)
        found = [float(value.detach()), *(float(part.detach()) for part in parts.values())]
        if self.ranks.size > 1:
            sum_gradients(self.parameters, self.ranks)
            clock = float(due and self.ranks.first)  # one clock decides for all
            *found, clock = self.ranks.sum_(torch.tensor([*found, clock], dtype=torch.float64)).tolist()
            due = clock > 0
        return found[0], dict(zip(parts, found[1:], strict=True)), due

    def _require_finite_weights(self, where: Place) -> None:
        """Before weights are kept or judged: a step with a finite loss can still have spoilt them."""
        weights = [
            parameter.detach() for parameter in self.parameters if parameter.numel()
        ]  # two levels leave no gaps to learn
        if self.tables is not None:
            weights += [shard.weights for shard in self.tables.shards()]
        largest = [torch.linalg.vector_norm(values, math.inf) for values in weights]
        spoilt = bool(largest) and not bool(torch.stack(largest).isfinite().all())
        if self.tables is not None:  # a rank has rows that others have not
            spoilt = any(self.ranks.lengths(int(spoilt)))
        if spoilt:
            raise self._divergence("a weight", where)

    def _divergence(self, what: str, where: Place) -> TrainingError:
        batch = self.batches.batch(where.epoch, where.batch)
        return explain_divergence(what, self.modules, batch, self.items, where, late=self.ahead is not None)

    def _validate(self) -> dict[str, float]:
        if self.validate is None:
            return {}
        self.model.eval()
        with self.model.embeddings.propagated():
            metrics = self.ranks.tell(dict(self.validate(self.model)))
        stopping = self.config.early_stopping
        if stopping is not None and stopping.metric not in metrics:
            raise ConfigError(
                f"training.early_stopping.metric: no {stopping.metric!r} among what validation gives: {', '.join(metrics)}"
            )
        return metrics
