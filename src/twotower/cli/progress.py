"""A bar on stderr for long work; nothing when stderr is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from twotower.columnar import Converting
from twotower.training import EpochDone, StepDone, TrainingEvent, TrainingStarted

__all__ = ["RunProgress"]

_TITLES = {
    "select": "training",
    "refit": "training on train and validation rows",
    "production": "training on all rows",
    "evaluate": "evaluating",
    "bundle": "writing",
}


class RunProgress:
    """Shows a run: rows per second, loss, the latest validation figure, time left.

    A `twotower.runs.RunListener`; use it as a context manager.

    Args:
        metric: The validation figure to show.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.percentage:3.0f}%"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[rate]}  {task.fields[loss]}  {task.fields[figure]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.rows = 0
        self.why = ""

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def __call__(self, phase: str, event: TrainingEvent | Converting | str) -> None:
        if isinstance(event, str):
            self._clear()
            self._say(f"{_TITLES[phase]}: {event}" if phase in _TITLES else event)
        elif isinstance(event, Converting):
            self._converting(phase, event)
        elif isinstance(event, TrainingStarted):
            self._clear()
            for line in event.refused:
                self.console.print(line, soft_wrap=True)
            self._say(
                f"{_TITLES[phase]}: {event.rows:,} rows, {event.batches:,} steps an epoch, at most {event.epochs:,} epochs"
            )
            self.rows = 0
            self.task = self.progress.add_task(
                phase,
                total=event.epochs * event.batches,
                completed=event.epoch * event.batches + event.batch,
                rate="",
                loss="",
                figure="",
            )
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)

    def _converting(self, phase: str, event: Converting) -> None:
        """A bar over the bytes of a table that is converted; why it is, said once, and where that is a fault to anybody."""
        if event.why != self.why:
            self.why = event.why
            self._clear()
            sentence = f"reading: the table is {event.why}" if event.bytes_total else event.why
            if event.again:
                self.console.print(sentence, soft_wrap=True)
            else:
                self._say(sentence)
        if not event.bytes_total:
            return
        if self.task is None:
            self.task = self.progress.add_task(phase, total=event.bytes_total, rate="", loss="", figure="")
        rate = f"{event.rows / event.seconds:,.0f} rows/s" if event.seconds > 0 else ""
        self.progress.update(
            self.task, total=event.bytes_total, completed=event.bytes_read, rate=rate, loss=f"{event.rows:,} rows"
        )
        if event.bytes_read >= event.bytes_total:
            self.progress.update(self.task, figure="writing")

    def _say(self, sentence: str) -> None:
        if self.console.is_terminal:
            self.console.print(sentence, soft_wrap=True)

    def _clear(self) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None

    def _step(self, event: StepDone) -> None:
        if self.task is None:
            return
        self.rows += event.rows
        elapsed = self.progress.tasks[-1].elapsed or 0.0
        rate = f"{self.rows / elapsed:,.0f} rows/s" if elapsed > 0 else ""
        self.progress.update(self.task, completed=event.step, rate=rate, loss=_losses(event))

    def _epoch(self, event: EpochDone) -> None:
        if self.task is not None and self.metric in event.metrics:
            self.progress.update(self.task, figure=f"{self.metric} {event.metrics[self.metric]:.4f}")
        self.progress.refresh()  # epochs may be shorter than the time between two drawings


def _losses(event: StepDone) -> str:
    """The loss, and what it is made of where there is more than retrieval."""
    parts = ", ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
    return f"loss {event.loss:.3f}" + (f" ({parts})" if parts else "")
