"""Where the trials of a tuning run: in this process, or in processes of their own, as many as fit into memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Protocol

import torch

from twotower.errors import TrainingError, TwotowerError
from twotower.runs.hardware import available_memory_bytes, peak_memory_bytes
from twotower.runs.recipe import Recipe
from twotower.runs.run_many import Frames
from twotower.runs.trial import TrialGround, load_ground
from twotower.runs.trial_record import TrialEnd

__all__ = ["TrialDesk", "TrialJob", "WorkerPool", "jobs_that_fit", "run_here"]

_WATCHED_EVERY_S = 0.5
_SLACK = 1.25
"""A later trial may be larger than the ones that were measured."""


@dataclass(frozen=True)
class TrialJob:
    """A trial that is to run: its number, and the recipe with its values."""

    number: int
    recipe: Recipe


class TrialDesk(Protocol):
    """Who gives trials out and takes their figures."""

    def next_trial(self) -> TrialJob | None:
        """The next trial; None when no more are wanted."""

    def epoch(self, number: int, epoch: int, value: float) -> bool:
        """Takes the validation figure of an epoch; says whether the trial goes on."""

    def ended(self, number: int, end: TrialEnd) -> None:
        """Takes what came of a trial."""

    def note(self, sentence: str) -> None:
        """Takes what a reader must know."""

    def idle(self) -> None:
        """Is called now and then while nothing happens."""


def run_here(ground: TrialGround, desk: TrialDesk) -> None:
    """Run trials in this process, one after the other, until no more are given out."""
    while (job := desk.next_trial()) is not None:
        number = job.number
        desk.ended(number, ground.run(job.recipe, lambda epoch, value, number=number: desk.epoch(number, epoch, value)))  # type: ignore[misc]


def jobs_that_fit(asked: int, peak: int, available: int | None) -> int:
    """How many trials may run at a time.

    Args:
        asked: At most so many.
        peak: Bytes that the process of the one that is running takes at most.
        available: Bytes that are still free beside it; None where nobody knows: as many as were asked for.

    Example:
        >>> jobs_that_fit(8, 400, 1000), jobs_that_fit(8, 400, 100), jobs_that_fit(2, 400, 10_000)
        (3, 1, 2)
    """
    if available is None or peak <= 0:
        return asked
    return max(1, min(asked, 1 + int(available / (_SLACK * peak))))


def _end_with_parent() -> None:
    """Wait for the process that started this one to end, and end at once: an epoch may take hours, for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _work(recipe: Recipe, metric: str, frames: Frames, threads: int, line: Connection) -> None:
    """What a process does: it reads the tables, then runs what it is sent until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        try:
            ground = load_ground(recipe, metric, frames)
        except (TwotowerError, OSError) as error:
            line.send(("broken", str(error), 0))
            return
        line.send(("ready", "", peak_memory_bytes()))
        while True:
            job: TrialJob = line.recv()

            def go_on(epoch: int, value: float) -> bool:
                line.send(("epoch", (epoch, value), peak_memory_bytes()))
                return bool(line.recv())

            line.send(("ended", ground.run(job.recipe, go_on), peak_memory_bytes()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # whoever started it is gone


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    number: int | None = None


class WorkerPool:
    """Trials in processes of their own.

    One process starts; what it takes is measured while it trains its first trial, and as many others follow as there is memory
    for.
    When this process ends, however it does, theirs end with it.

    Args:
        recipe: Says which tables to read.
        metric: What trials are compared by.
        frames: Tables in place of the recipe's.
        jobs: Trials at a time, at most.
        desk: Gives trials out.
        measure: Bytes that are available; a test gives another one.
    """

    def __init__(
        self,
        recipe: Recipe,
        metric: str,
        frames: Frames,
        jobs: int,
        desk: TrialDesk,
        measure: Callable[[], int | None] = available_memory_bytes,
    ) -> None:
        self.recipe = recipe
        self.metric = metric
        self.frames = frames
        self.asked = jobs
        self.desk = desk
        self.measure = measure
        self.jobs = 1
        self.is_measured = False
        self.threads = max(1, (os.cpu_count() or 1) // jobs)
        self.workers: dict[Connection, _Worker] = {}
        self.is_done = False

    def run(self) -> None:
        """Run trials until no more are given out.

        Raises:
            TrainingError: If a process can't read the tables that this one could.
        """
        try:
            self._start()
            while self.workers:
                for line in wait_for(list(self.workers), timeout=_WATCHED_EVERY_S):
                    self._take(line)  # type: ignore[arg-type]
                while not self.is_done and len(self.workers) < self.jobs:
                    self._start()
                self.desk.idle()
        finally:
            for worker in self.workers.values():
                worker.process.terminate()
            for worker in self.workers.values():
                worker.process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        line, theirs = context.Pipe()
        arguments = (self.recipe, self.metric, self.frames, self.threads, theirs)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that the death of the process is felt here
        self.workers[line] = _Worker(process)

    def _take(self, line: Connection) -> None:
        worker = self.workers[line]
        try:
            what, value, peak = line.recv()
        except (EOFError, ConnectionResetError):
            self._lost(line, worker)
            return
        if what == "broken":
            raise TrainingError(f"a process of a trial could not begin: {value}")
        if what == "epoch":
            assert worker.number is not None
            epoch, figure = value
            self._answer(line, self.desk.epoch(worker.number, epoch, figure))
            self._make_room(peak)
            return
        if what == "ended":
            assert worker.number is not None
            number, worker.number = worker.number, None
            self.desk.ended(number, value)
            self._make_room(peak)
        self._give(line, worker)

    def _give(self, line: Connection, worker: _Worker) -> None:
        job = None if self.is_done or len(self.workers) > self.jobs else self.desk.next_trial()
        if job is None:
            self.is_done = self.is_done or len(self.workers) <= self.jobs
            self._dismiss(line, worker)
            return
        worker.number = job.number
        self._answer(line, job)

    def _answer(self, line: Connection, value: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is gone, which is felt when it is listened to
            line.send(value)

    def _dismiss(self, line: Connection, worker: _Worker) -> None:
        del self.workers[line]
        line.close()
        worker.process.join()

    def _make_room(self, peak: int) -> None:
        """Once it is known what a trial takes, let others run beside it; said where they are fewer than were asked for."""
        if self.is_measured:
            return
        self.is_measured = True
        available = self.measure()
        self.jobs = jobs_that_fit(self.asked, peak, available)
        if self.jobs < self.asked:
            self.desk.note(
                f"a trial takes {peak / 2**20:,.0f} MiB and {(available or 0) / 2**20:,.0f} MiB more are free: "
                f"{self.jobs} at a time in place of {self.asked}"
            )

    def _lost(self, line: Connection, worker: _Worker) -> None:
        """A process that ended by itself takes its trial with it; one less runs from here on, since mostly it was memory."""
        del self.workers[line]
        line.close()
        worker.process.join()
        status = worker.process.exitcode
        if worker.number is None:
            raise TrainingError(f"a process of a trial ended before it began (exit status {status}): killed, or out of memory")
        reason = f"its process ended without an answer (exit status {status}): killed, or out of memory"
        self.desk.ended(worker.number, TrialEnd("failed", reason=reason))
        if self.jobs > 1:
            self.jobs -= 1
            self.desk.note(f"the process of a trial ended by itself: {self.jobs} at a time from here on")
