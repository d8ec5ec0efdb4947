"""Many runs, one after the other or several at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path

import polars as pl
import torch

from twotower.errors import TwotowerError
from twotower.runs.recipe import Recipe
from twotower.runs.run import run

__all__ = ["Frames", "RunTask", "run_many"]

_WATCHED_EVERY_S = 0.5


@dataclass(frozen=True)
class Frames:
    """Tables from Python, in place of those that the recipes name; None for a recipe's own."""

    interactions: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    cache_dir: Path | None = None


@dataclass(frozen=True)
class RunTask:
    """A run to be made: a recipe, and the folder where it goes."""

    name: str
    recipe: Recipe
    folder: Path


def run_many(
    tasks: Sequence[RunTask],
    *,
    frames: Frames = Frames(),
    jobs: int = 1,
    threads: int | None = None,
    watch: Callable[[], None] | None = None,
) -> dict[str, str]:
    """Make runs; those that are there already are kept, and interrupted ones go on where they stopped.

    With one job the runs are made in this process. With several, each has a process of its own, those that look longest first,
    and when this one is interrupted the others are ended: what they had saved is kept.

    Args:
        tasks: Their names must differ.
        frames: Tables in place of the recipes'.
        jobs: How many at a time.
        threads: torch's threads for each; None: as they are with one job, else one.
        watch: Called now and then while runs are made, for whoever draws a table.

    Returns:
        Why a run failed, by name of its task; empty when all went well. A run that fails does not stop the others.
    """
    tell = watch or _nothing
    if jobs == 1:
        failures = {}
        for task in tasks:
            with _threads(threads):
                reason = _try(task, frames, tell)
            if reason is not None:
                failures[task.name] = reason
        return failures
    return _Pool(tasks, frames, jobs, threads or 1, tell).run()


def _nothing() -> None:
    pass


def _try(task: RunTask, frames: Frames, tell: Callable[[], None]) -> str | None:
    """Why the run failed; None if it did not."""
    try:
        run(
            task.recipe,
            task.folder,
            interactions=frames.interactions,
            items=frames.items,
            users=frames.users,
            cache_dir=frames.cache_dir,
            resume=True,
            listener=lambda phase, event: tell(),  # noqa: ARG005 the folder tells the rest
        )
    except (TwotowerError, OSError) as error:
        return str(error)
    return None


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _work(task: RunTask, frames: Frames, threads: int, answer: Connection) -> None:
    """What a process does: a run, and then one answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    torch.set_num_threads(threads)
    answer.send(_try(task, frames, _nothing))
    answer.close()


def _effort(recipe: Recipe) -> float:
    """How long a run may take beside another, as far as a recipe tells: epochs times widths."""
    towers = (recipe.query.layer_sizes or recipe.model.layer_sizes, recipe.candidate.layer_sizes or recipe.model.layer_sizes)
    features = [entry.embedding.dim for entry in (*recipe.query.features, *recipe.candidate.features)]
    return recipe.training.epochs * float(sum(features) + sum(map(sum, towers)))


class _Pool:
    """Processes of their own, so that ending them ends nothing else."""

    def __init__(self, tasks: Sequence[RunTask], frames: Frames, jobs: int, threads: int, tell: Callable[[], None]) -> None:
        self.waiting = sorted(tasks, key=lambda task: -_effort(task.recipe))  # a long run that starts last is waited for
        self.frames = frames
        self.jobs = jobs
        self.threads = threads
        self.tell = tell
        self.failures: dict[str, str] = {}
        self.working: dict[Connection, tuple[RunTask, multiprocessing.process.BaseProcess]] = {}

    def run(self) -> dict[str, str]:
        try:
            while self.waiting or self.working:
                while self.waiting and len(self.working) < self.jobs:
                    self._start(self.waiting.pop(0))
                for answer in wait_for(list(self.working), timeout=_WATCHED_EVERY_S):
                    self._take(answer)  # type: ignore[arg-type]
                self.tell()
        finally:
            for _, process in self.working.values():
                process.terminate()
            for _, process in self.working.values():
                process.join()
        return self.failures

    def _start(self, task: RunTask) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        answer, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(task, self.frames, self.threads, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the death of the process is felt here
        self.working[answer] = (task, process)

    def _take(self, answer: Connection) -> None:
        task, process = self.working.pop(answer)
        try:
            reason = answer.recv()
        except EOFError:
            process.join()
            reason = f"its process ended without an answer (exit status {process.exitcode}): killed, or out of memory"
        answer.close()
        process.join()
        if reason is not None:
            self.failures[task.name] = reason
