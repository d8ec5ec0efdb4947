"""``twotower compare``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from twotower.cli.output import figure, print_json, print_lines, print_table
from twotower.errors import ConfigError
from twotower.runs import Recipe, read_recipe
from twotower.runs.compare import Comparison, compare, comparison_tasks
from twotower.runs.grid import Axis, parse_axis, settings_of
from twotower.runs.report import report_runs
from twotower.runs.run_folder import RunFolder
from twotower.runs.run_many import RunTask

__all__ = ["compare_command"]

_VIEWS = {
    "all": "",
    "frozen": "histories and seen items frozen at the cut",
    "warm": "users with train rows",
    "cold": "users without train rows",
    "cold_items": "items without train rows",
}
_VARIANTS = {"seen_included": "seen items included", "seen_removed": "seen items removed"}


def compare_command(
    recipe_path: Path,
    over: Sequence[str],
    overrides: Sequence[str],
    *,
    seeds: int,
    jobs: int | None,
    run_dir: Path | None,
    metric: str | None,
    removed: bool | None,
    baselines: Sequence[str] | None,
    report: bool,
    as_json: bool,
) -> None:
    """Run a grid, and print who is better."""
    recipes = _recipes(recipe_path, over, overrides)
    first = next(iter(recipes.values()))
    folder = run_dir or Path("runs") / f"{first.name}-compare"
    numbers = [first.seed + place for place in range(seeds)]
    tasks = [task for of_label in comparison_tasks(recipes, folder, numbers).values() for task in of_label]
    with _LiveTable(tasks, metric or f"recall@{first.evaluation.ks[-1]}") as table:
        try:
            found = compare(
                recipes,
                folder,
                seeds=numbers,
                metric=metric,
                removed=removed,
                baselines=baselines,
                jobs=jobs,
                watch=table.draw,
                tell=table.say,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("go on with the same command: what was trained is kept") from None
        page = _draw(found, table.say) if report else None
    if as_json:
        print_json(found.summary)
        return
    _print_summary(first.name, found.summary)
    print_lines(f"figures: {folder / 'compare.json'}")
    if page is not None:
        print_lines(f"report:  {page}")
    elif report:
        print_lines("report:  none without matplotlib; install it with: pip install 'twotower[report]'")
    best = next((entry["name"] for entry in found.summary["groups"][0]["rankers"] if entry["kind"] == "model"), None)
    if best is not None:
        run = found.summary["settings"][best]["folders"][0]
        print_lines(f"next:    twotower diagnose {quote(run)}")


def _draw(found: Comparison, say: Callable[[str], None]) -> Path | None:
    """The page of the comparison; None where there is nothing to draw with."""
    if find_spec("matplotlib") is None:
        return None
    drawn = report_runs(
        list(found.runs),
        found.folder / "report",
        labels=list(found.runs.values()),
        fitted=found.baselines[0],
        diagnosis=False,
        tell=say,
    )
    return drawn.page


def _recipes(path: Path, over: Sequence[str], overrides: Sequence[str]) -> dict[str, Recipe]:
    if not over:
        raise ConfigError("--over is missing: say what to vary, for instance --over 'model.layer_sizes=[32];[64,32]'")
    axes = [parse_axis(text) for text in over]
    faults = _idle_axes(axes, overrides)
    recipes: dict[str, Recipe] = {}
    for setting in settings_of(axes) if not faults else ():
        try:
            recipes[setting.label] = read_recipe(path, overrides=[*overrides, *setting.overrides])
        except ConfigError as error:
            faults += [f"{setting.label}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError(faults, source=str(path))
    return recipes


def _idle_axes(axes: Sequence[Axis], overrides: Sequence[str]) -> list[str]:
    """What is wrong with keys that would vary in the labels only, or undo a --set."""
    given = {override.partition("=")[0].strip() for override in overrides}
    faults = [f"--set {axis.key}: --over gives it other values; leave one of them out" for axis in axes if axis.key in given]
    if any(axis.key == "seed" for axis in axes):
        faults.append("--over seed: training seeds are no settings to choose from; say how many with --seeds")
    return faults


class _LiveTable:
    """How far every run is, on a terminal; what it shows, the runs' folders tell.

    Args:
        tasks: The runs.
        metric: The validation figure to show.
    """

    def __init__(self, tasks: Sequence[RunTask], metric: str) -> None:
        self.tasks = tasks
        self.metric = metric
        self.console = Console(stderr=True, highlight=False, markup=False)  # [a] in a label is no style
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.sentence = ""

    def __enter__(self) -> _LiveTable:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def say(self, sentence: str) -> None:
        """A sentence below the table."""
        self.sentence = sentence
        self.draw()

    def draw(self) -> None:
        """Draw anew; nothing where stderr is no terminal."""
        if not self.console.is_terminal:
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), caption=self.sentence or None)
        for name, side in (("run", "left"), ("state", "left"), ("epoch", "right"), ("loss", "right"), (self.metric, "right")):
            table.add_column(name, justify="left" if side == "left" else "right")
        for task in self.tasks:
            table.add_row(task.name, *_progress(task, self.metric))
        self.live.update(table, refresh=True)


def _progress(task: RunTask, metric: str) -> tuple[str, str, str, str]:
    """State, epoch, loss and latest validation figure of a run."""
    place = RunFolder(task.folder)
    try:
        records = [json.loads(line) for line in place.metrics.read_text(encoding="utf-8").splitlines()]
    except OSError:
        records = []
    if not records:  # the file is there, and empty, from the start of training to the end of its first epoch
        return ("starting" if place.recipe.exists() else "waiting"), "", "", ""
    state = (
        "done" if place.result.exists() else {"select": "training", "refit": "refitting"}.get(records[-1]["phase"], "last fit")
    )
    shown = [record["metrics"][metric] for record in records if metric in record["metrics"]]
    epochs = records[-1]["epoch"]
    return state, f"{epochs} of {task.recipe.training.epochs}", f"{records[-1]['loss']:.3f}", figure(shown[-1]) if shown else ""


def _print_summary(name: str, summary: Mapping[str, Any]) -> None:
    metric, variant = summary["metric"], f"seen_{summary['seen']}"
    seeds = summary["seeds"]
    for group in summary["groups"]:
        print_lines(
            f"{name}: {metric}, {_VARIANTS[variant]}, {group['rows']:,} test rows of {group['users']:,} users, "
            f"training seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        )
        for note in summary["notes"]:
            print_lines(f"note: {note}")
        for baseline, reason in summary["skipped"].items():
            print_lines(f"note: {baseline} was left out: {reason}")
        for view, title in _VIEWS.items():
            for each in (variant, *(other for other in _VARIANTS if other != variant)):
                if view in group["views"]:
                    _print_view(group, view, each, title, metric, headline=view == "all" and each == variant)
        _print_verdicts(group, variant)


def _print_view(group: Mapping[str, Any], view: str, variant: str, title: str, metric: str, *, headline: bool) -> None:
    found = group["views"][view][variant]
    where = ", ".join(part for part in (title, _VARIANTS[variant]) if part)
    ranked = {ranker["name"]: ranker for ranker in group["rankers"]}
    keys = [key for key in found["figures"][next(iter(ranked))] if headline or key in (metric, "ndcg@10")]
    header = ["rank", "what", *(["", "95% from", "to"] if headline else []), *keys]
    rows = []
    ordered = sorted(ranked, key=lambda ranker: -found["figures"][ranker][metric])
    for place, ranker in enumerate(ordered, start=1):
        entry = ranked[ranker]
        row = [str(place), ranker if entry["kind"] == "model" else f"{ranker} (baseline)"]
        if headline:
            row += [figure(entry["mean"]), figure(entry["low"]), figure(entry["high"])]
        rows.append(row + [figure(found["figures"][ranker][key]) for key in keys])
    if headline:
        header[2] = metric
        drop = len(header) - len(keys) + keys.index(metric)
        header = [name for place, name in enumerate(header) if place != drop]
        rows = [[cell for place, cell in enumerate(row) if place != drop] for row in rows]
    print_lines("")
    print_table(f"{where} ({found['rows']:,} rows)", header, rows, left=["what"])


def _print_verdicts(group: Mapping[str, Any], variant: str) -> None:
    """What may be said of every two models, and of every model and the baseline that is nearest to it or above it."""
    found = group["views"]["all"][variant]["comparisons"]
    among = [each for each in found if each["of"] == "models"]
    beside = [each for each in found if each["of"] == "baselines"]
    best = next((ranker["name"] for ranker in group["rankers"] if ranker["kind"] == "baseline"), None)
    print_lines("", *(each["sentence"] for each in among))
    print_lines(*(each["sentence"] for each in beside if best in (each["first"], each["second"])))
    counts = " and ".join(f"{len(of)} {what}" for of, what in ((among, "of settings"), (beside, "with baselines")) if of)
    print_lines(f"(paired bootstrap over users, training seeds nested; corrected after Holm: {counts})", "")
