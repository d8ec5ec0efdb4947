"""Trials in processes of their own: as many as fit, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.runs import Recipe
from twotower.runs.recipe_values import recipe_toml
from twotower.runs.run_many import Frames
from twotower.runs.trial import load_ground
from twotower.runs.trial_record import TrialEnd
from twotower.runs.trial_workers import TrialJob, WorkerPool, jobs_that_fit, run_here


def _nothing(number: int, epoch: int) -> None:
    pass


@dataclass
class Desk:
    """Gives out so many trials of one recipe."""

    recipe: Recipe
    trials: int
    when_told: Callable[[int, int], None] = _nothing
    given: int = 0
    curves: dict[int, dict[int, float]] = field(default_factory=dict)
    ends: dict[int, TrialEnd] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def next_trial(self) -> TrialJob | None:
        if self.given == self.trials:
            return None
        self.given += 1
        return TrialJob(self.given - 1, self.recipe)

    def epoch(self, number: int, epoch: int, value: float) -> bool:
        self.curves.setdefault(number, {})[epoch] = value
        self.when_told(number, epoch)
        return True

    def ended(self, number: int, end: TrialEnd) -> None:
        self.ends[number] = end

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def idle(self) -> None:
        pass


@pytest.mark.parametrize(
    ("asked", "peak", "available", "fit"),
    [(4, 100, 1000, 4), (4, 100, 250, 3), (4, 100, 124, 1), (4, 100, 0, 1), (4, 100, None, 4), (1, 100, 10_000, 1)],
)
def test_as_many_as_fit_and_never_none(asked: int, peak: int, available: int | None, fit: int) -> None:
    assert jobs_that_fit(asked, peak, available) == fit


def test_processes_find_what_this_one_finds_and_room_decides_how_many(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe, frames = make_recipe(), Frames(interactions)
    here = Desk(recipe, 1)
    run_here(load_ground(recipe, "recall@5", frames), here)
    there = Desk(recipe, 3)
    pool = WorkerPool(recipe, "recall@5", frames, 2, there, lambda: 0)  # no room for a second one
    pool.run()
    assert pool.jobs == 1
    assert sorted(there.ends) == [0, 1, 2]
    assert all(curve == pytest.approx(here.curves[0]) for curve in there.curves.values())
    assert [end.state for end in there.ends.values()] == ["done"] * 3
    (note,) = there.notes
    assert "MiB more are free: 1 at a time in place of 2" in note


ORPHANS = """
import sys, time
from pathlib import Path
from twotower.runs import read_recipe
from twotower.runs.run_many import Frames
from twotower.runs.trial_record import TrialEnd
from twotower.runs.trial_workers import TrialJob, WorkerPool

class Desk:
    def next_trial(self):
        return TrialJob(0, recipe)
    def epoch(self, number, epoch, value):
        (worker,) = pool.workers.values()
        print(worker.process.pid, flush=True)
        time.sleep(60)
    def idle(self):
        pass

if __name__ == "__main__":
    recipe = read_recipe(Path(sys.argv[1]))
    pool = WorkerPool(recipe, "recall@5", Frames(), 1, Desk())
    pool.run()
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(make_recipe: Any, interactions: pl.DataFrame, tmp_path: Path) -> None:
    interactions.write_csv(tmp_path / "log.csv")
    text = recipe_toml(make_recipe()).replace("[data.columns]", "[data.interactions]\npath = 'log.csv'\n[data.columns]")
    (tmp_path / "recipe.toml").write_text(text)
    (tmp_path / "program.py").write_text(ORPHANS)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "recipe.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        os.kill(worker, 0)  # it is there
        process.kill()
    ends = time.monotonic() + 30
    while Path(f"/proc/{worker}/stat").exists() and time.monotonic() < ends:
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.slow
def test_a_process_that_dies_takes_its_trial_with_it_and_no_more(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe, frames = make_recipe(), Frames(interactions)

    def kill(number: int, epoch: int) -> None:
        if (number, epoch) == (1, 1):
            (process,) = [worker.process for worker in pool.workers.values() if worker.number == 1]
            os.kill(process.pid or 0, signal.SIGKILL)

    desk = Desk(recipe, 4, kill)
    pool = WorkerPool(recipe, "recall@5", frames, 2, desk, lambda: 2**40)
    pool.run()
    assert {number: end.state for number, end in desk.ends.items()} == {0: "done", 1: "failed", 2: "done", 3: "done"}
    assert "killed, or out of memory" in desk.ends[1].reason
    assert desk.notes == ["the process of a trial ended by itself: 1 at a time from here on"]
