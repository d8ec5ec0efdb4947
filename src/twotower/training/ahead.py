"""Steps on an accelerator, which the host does not wait for: it queues them, and reads their losses by the dozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.data.batches import Batch, Batches
from twotower.errors import TrainingError
from twotower.filled import Filled, Fills
from twotower.losses import RetrievalLoss, StreamedLogQ
from twotower.models import TwoTower
from twotower.optim import clip_recorded
from twotower.training.captured import WARM_UP, Capture, another_stream, on_stream
from twotower.training.sent import sent_batch
from twotower.training.step import Place, batch_losses
from twotower.training.tasks import Objective
from twotower.types import Features, Ragged

__all__ = ["DoneStep", "StepsAhead"]

_MOST = 32
"""Steps before their losses are read: the host is seldom held up, and a loss that is not finite is found soon."""


@dataclass(frozen=True)
class DoneStep:
    """What a step came to.

    Attributes:
        where: Which step.
        rows: Of its batch.
        loss: Of the batch.
        parts: Of the tasks, in the order of `batch_losses`.
        norm: Of all gradients; None where they are not clipped.
    """

    where: Place
    rows: int
    loss: float
    parts: Sequence[float]
    norm: float | None


@dataclass
class StepsAhead:
    """Queues steps on a device.

    Attributes:
        model: On the device, and so is the rest; in training mode.
        loss: The loss.
        batches: The feed.
        items: Features of the whole catalogue.
        log_q_N: As for `batch_losses`.
        streamed_log_q: As for `batch_losses`.
        objective: What is learned.
        parameters: Those that are trained.
        optimizers: Those that train them.
        clip_norm: Largest norm of all gradients; None does not clip.
        device: Where.
        capture: What makes a step one that is replayed, see `Capture`; None: every step is queued operation by operation.
    """

    model: TwoTower
    loss: RetrievalLoss
    batches: Batches
    items: Features
    log_q_N: Tensor | None
    streamed_log_q: StreamedLogQ | None
    objective: Objective
    parameters: Sequence[Tensor]
    optimizers: Sequence[Optimizer]
    clip_norm: float | None
    device: torch.device
    capture: Capture | None = None
    _queued: list[tuple[Place, int, Tensor]] = field(default_factory=list)
    _graph: _Graph | None = None

    def queue(self, where: Place) -> bool:
        """Queue a step; whether it is time to read what steps came to.

        Raises:
            TrainingError: If the step was to be captured and the device refuses.
        """
        figures = None
        if self.capture is not None:
            self._graph = _Graph(self) if self._graph is None else self._graph
            figures = self._graph.step(self, self.capture, where)
        if figures is None:
            batch = sent_batch(self.batches.batch(where.epoch, where.batch), self.device)
            rows, figures = len(batch.rows), self.step(batch)
        else:
            rows = self.batches.batch_size
        self._queued.append((where, rows, figures))
        return len(self._queued) >= _MOST

    def read(self) -> list[DoneStep]:
        """What the steps that were queued came to; waits for the device once."""
        queued, self._queued = self._queued, []
        if not queued:
            return []
        clipped = self.clip_norm is not None
        found = []
        for (where, rows, _), (loss, *rest) in zip(queued, torch.stack([each[2] for each in queued]).tolist(), strict=True):
            found.append(DoneStep(where, rows, loss, rest[:-1] if clipped else rest, rest[-1] if clipped else None))
        return found

    def step(self, batch: Batch, items: Features | None = None) -> Tensor:
        """One step: what `DoneStep` has, in one tensor; of ``items`` in place of its own."""
        values = batch_losses(
            self.model,
            self.loss,
            batch,
            self.items if items is None else items,
            log_q_N=self.log_q_N,
            device=self.device,
            objective=self.objective,
            streamed_log_q=self.streamed_log_q,
        )
        value = self.objective.total(values)
        for parameter in self.parameters:
            parameter.grad = None
        value.backward()  # type: ignore[no-untyped-call]
        figures = [value, *(values.values() if self.objective.tasks else ())]
        if self.clip_norm is not None:
            figures.append(clip_recorded(self.parameters, self.clip_norm).to(value))
        for optimizer in self.optimizers:
            optimizer.step()
        return torch.stack([figure.detach() for figure in figures])


class _Graph:
    """One step whose batches come through two tensors, first as it is, then captured and replayed."""

    def __init__(self, ahead: StepsAhead) -> None:
        batches = ahead.batches
        beside = 0 if batches.most_candidates is None else batches.most_candidates - batches.batch_size
        self._rows_B = torch.zeros(batches.batch_size, dtype=torch.int64, device=ahead.device)
        self._beside_E = torch.zeros(beside, dtype=torch.int64, device=ahead.device)
        # taken from for the candidates of a batch, or encoded as a whole, which always has the same shapes
        filled = Filled._make if batches.most_candidates is None else Fills.of
        self._items = {name: filled(each) if isinstance(each, Ragged) else each for name, each in ahead.items.items()}
        self._figures: Tensor | None = None
        self._stream = another_stream(ahead.device)
        self._warm = 0
        self._replay: Callable[[], None] | None = None

    def step(self, ahead: StepsAhead, capture: Capture, where: Place) -> Tensor | None:
        """Do a step; None, with nothing done, for a batch of another size: the last of an epoch, the first of a queue."""
        batches = ahead.batches
        rows_B = batches.rows(where.epoch, where.batch)
        if len(rows_B) != len(self._rows_B):
            return None
        beside_E = batches.beside(where.epoch, where.batch)
        if len(beside_E) != len(self._beside_E):
            return None
        self._rows_B.copy_(rows_B)
        self._beside_E.copy_(beside_E)

        def work() -> None:
            self._figures = ahead.step(batches.fixed(self._rows_B, self._beside_E), self._items)

        if self._warm < WARM_UP:
            self._warm += 1
            on_stream(work, self._stream)
        else:
            if self._replay is None:
                self._replay = _captured(capture, work, ahead.device)
            self._replay()
        assert self._figures is not None
        return self._figures.clone()


def _captured(capture: Capture, work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    try:
        return capture(work, device)
    except RuntimeError as error:
        first: BaseException = error
        while first.__context__ is not None:  # the end of a capture that went wrong says no more than that
            first = first.__context__
        said = (str(first).strip() or type(first).__name__).splitlines()[0]
        raise TrainingError(
            f"the step can't be captured as a CUDA graph ({said}): set training.cuda_graph = false; --resume goes on without"
        ) from error
