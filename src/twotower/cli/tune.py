"""``twotower tune``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from twotower.cli.output import figure, print_json, print_lines, print_table
from twotower.errors import ConfigError
from twotower.runs import read_recipe
from twotower.runs.recipe import Recipe
from twotower.runs.tuning import PRUNERS, TuningProgress, TuningResult, tune
from twotower.runs.tuning_folder import TuningFolder
from twotower.runs.tuning_outcome import own_text, state_words, value_text
from twotower.runs.tuning_report import report_tuning

__all__ = ["TuneOptions", "TuneProgress", "duration_words", "tune_command"]


@dataclass(frozen=True)
class TuneOptions:
    """What was asked for; as the options of the command."""

    trials: int
    timeout_s: float | None
    jobs: int
    metric: str | None
    pruner: str
    seed: int
    run_dir: Path | None
    resume: bool
    overwrite: bool
    report: bool


def tune_command(recipe_path: Path, overrides: Sequence[str], options: TuneOptions, *, as_json: bool) -> None:
    """Tune a recipe, and print what was found."""
    recipe = read_recipe(recipe_path, overrides=overrides)
    if options.pruner not in PRUNERS:
        raise ConfigError(f"--pruner {options.pruner!r}: must be one of {', '.join(PRUNERS)}")
    folder = options.run_dir or Path("runs") / f"{recipe.name}-tune"
    with TuneProgress() as progress:
        try:
            found = tune(
                recipe,
                folder,
                trials=options.trials,
                timeout_s=options.timeout_s,
                jobs=options.jobs,
                metric=options.metric,
                seed=options.seed,
                pruner=options.pruner,
                resume=options.resume,
                overwrite=options.overwrite,
                listener=progress,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("go on with the same command and --resume: trials that have ended are kept") from None
    page = report_tuning(recipe, found) if options.report and find_spec("matplotlib") is not None else None
    if as_json:
        print_json(found.summary)
        return
    place = TuningFolder(folder)
    _print_summary(recipe, found)
    print_lines(f"trials: {place.trials}", f"recipe: {place.best}")
    if page is not None:
        print_lines(f"report: {page}")
    elif options.report:
        print_lines("report: none without matplotlib; install it with: pip install 'twotower[report]'")
    print_lines(f"next:   twotower train {quote(str(place.best))}")


def _print_summary(recipe: Recipe, found: TuningResult) -> None:
    summary = found.summary
    best, own, metric = summary["best"], summary["own"], summary["metric"]
    better = "smaller is better" if summary["smaller_is_better"] else "more is better"
    print_lines(
        f"{recipe.name}: {metric} of {summary['rows']['validation']:,} validation rows ({better}), {state_words(found.records)}"
    )
    importances = summary["importances"]
    header = ["key", "as it was", "best", *(["importance"] if importances else [])]
    rows = [
        [key, own_text(recipe, key), value_text(value), *([f"{importances.get(key, 0.0):.2f}"] if importances else [])]
        for key, value in best["settings"].items()
    ]
    print_lines("")
    print_table("", header, rows, left=["key"])
    print_lines("", f"best:   trial {best['number']}, {_figure_words(best)}")
    if own is not None and own["number"] != best["number"]:
        came = _figure_words(own) if own["value"] is not None else f"failed: {own['reason']}"
        print_lines(f"as it was: trial {own['number']}, {came}")
    elif own is not None:
        print_lines("that is the recipe as it was: nothing that was tried is better")
    print_lines(*(f"note: {note}" for note in summary["notes"]))


def _figure_words(trial: dict[str, Any]) -> str:
    given_up = "; given up early" if trial["state"] == "pruned" else ""
    return f"{figure(trial['value'])}, epoch {trial['epoch']} of {trial['epochs_run']}{given_up}"


class TuneProgress:
    """Shows a tuning on stderr: trials, what those that run have reached, the best, time left. Nothing where it is no terminal.

    A `twotower.runs.tuning.TuneListener`; use it as a context manager.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False)
        self.progress = Progress(
            TextColumn("{task.completed}/{task.total} trials", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[running]}  {task.fields[best]}  {task.fields[left]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("tune", total=None, running="preparing", best="", left="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def __call__(self, event: TuningProgress) -> None:
        if event.note and self.console.is_terminal:
            self.console.print(event.note, soft_wrap=True)
        best = event.best
        self.progress.update(
            self.task,
            total=event.total,
            completed=event.done,
            running=", ".join(_running_words(number, at) for number, at in event.running.items()),
            best="" if best is None or best.value is None else f"best {figure(best.value)} (trial {best.number})",
            left="" if event.seconds_left is None else f"{duration_words(event.seconds_left)} left",
        )
        self.progress.refresh()


def _running_words(number: int, at: tuple[int, float] | None) -> str:
    return f"trial {number}" + ("" if at is None else f": {figure(at[1])} at epoch {at[0]}")


def duration_words(seconds: float) -> str:
    """A duration to be glanced at.

    Example:
        >>> duration_words(42.3), duration_words(150), duration_words(7500)
        ('42 s', '2 min 30 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
