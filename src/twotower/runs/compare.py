"""Several recipes, each with several training seeds, judged against each other and against the baselines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl

from twotower.bundle import JSON, open_bundle, parse_json, write_json
from twotower.errors import ConfigError, TrainingError
from twotower.evaluation import JudgedRows
from twotower.runs.baselines import FittedBaseline, judge_baselines, require_baselines
from twotower.runs.baselines_config import BASELINE_NAMES
from twotower.runs.grid import Setting
from twotower.runs.load_run import require_same_tables
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import RunFolder
from twotower.runs.run_many import Frames, RunTask, run_many
from twotower.runs.standings import JudgedRun, chosen_for, headline_of, standings
from twotower.runs.tables import Tables, load_tables
from twotower.training import resolve_device

__all__ = ["Comparison", "compare", "comparison_tasks"]

_MOST_JOBS = 4
"""Each run holds the tables and a model of its own; whoever has the memory for more says so."""

_PLAIN = ("popularity", "random")


@dataclass(frozen=True)
class Comparison:
    """What comparing gave.

    Attributes:
        folder: Holds a folder per setting with one run per seed, and ``compare.json``.
        summary: ``metric`` and ``seen`` (what is ranked by), ``seeds``, ``settings`` (by label: ``folders`` and ``seconds`` of
            training and evaluation, per seed), ``groups`` (one per set of test rows: ``labels``, ``baselines`` (as fitted),
            ``chosen_by`` (the validation figure that their settings are the best by), and as
            `twotower.runs.standings.standings` says), ``skipped`` baselines with the reason, ``notes``.
        runs: The folder of every run, and what to call it.
        baselines: Those of each group, fitted.
    """

    folder: Path
    summary: dict[str, Any]
    runs: dict[Path, str]
    baselines: tuple[Mapping[str, FittedBaseline], ...]


def comparison_tasks(recipes: Mapping[str, Recipe], folder: str | Path, seeds: Sequence[int]) -> dict[str, list[RunTask]]:
    """The runs that comparing makes, by label: each recipe with each training seed, in ``FOLDER/LABEL/seed-N``."""
    places = _places(list(recipes))
    return {
        label: [
            RunTask(
                label if len(seeds) == 1 else f"{label}, seed {seed}",
                recipe.model_copy(update={"seed": seed}),
                Path(folder) / places[label] / f"seed-{seed}",
            )
            for seed in seeds
        ]
        for label, recipe in recipes.items()
    }


def compare(
    recipes: Mapping[str, Recipe],
    folder: str | Path,
    *,
    seeds: Sequence[int] = (1,),
    metric: str | None = None,
    removed: bool | None = None,
    baselines: Sequence[str] | None = None,
    jobs: int | None = None,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    cache_dir: Path | None = None,
    watch: Callable[[], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Comparison:
    """Train every recipe with every seed, then say which is better, and whether the test rows can show it.

    Runs that are in the folder already are kept, interrupted ones go on where they stopped: the same call resumes, and more
    recipes or seeds can be added later. Recipes whose test rows differ (another split, another table) are ranked apart.

    Baselines are fitted on the rows that the models are; where only some recipes refit, on train and validation rows.

    Args:
        recipes: By label, in the order of the tables.
        folder: For all runs and the result.
        seeds: Training seeds, in place of the recipes' own; the split's seed stays.
        metric: What is ranked by: ``recall@K``, ``ndcg@K`` or ``mrr``. None: what stops the first recipe's training early, or
            its last recall.
        removed: Rank with seen items removed. None: as the metric of early stopping says, where that is what is ranked by,
            else no.
        baselines: Which to judge beside the models; None for all that can be fitted, empty for popularity and random alone.
        jobs: Runs at a time. With several, each has a process with one thread, so call this under ``if __name__ ==
            "__main__"``. None: as many as there are cores, at most 4; one on an accelerator.
        interactions: In place of the recipes' tables.
        items: In place of the recipes' tables.
        users: In place of the recipes' tables.
        cache_dir: Where public data sets are kept; None for the default.
        watch: Called now and then while runs are made.
        tell: Is told, in a sentence, what happens besides.

    Raises:
        ConfigError: If there is nothing to compare, a seed comes twice, a label is a baseline's name, or a folder holds
            another recipe's run.
        DataError: If a run that is kept was trained on other tables than they are now.
        TrainingError: If runs failed, once the others are finished.
    """
    _require(recipes, seeds, jobs)
    require_baselines(baselines or ())
    first = next(iter(recipes.values()))
    headline = headline_of(first, metric, removed)
    place = Path(folder)
    tasks = comparison_tasks(recipes, place, seeds)
    every_task = [task for of_label in tasks.values() for task in of_label]
    frames = Frames(interactions, items, users, cache_dir)
    failures = run_many(every_task, frames=frames, jobs=_jobs(jobs, first, len(every_task)), watch=watch)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise TrainingError(
            f"{len(failures)} of {len(every_task)} runs failed ({reasons}); the others are kept in {place}, and the same "
            "command goes on with what is missing"
        )
    judged = {label: [_judged(RunFolder(task.folder)) for task in of_label] for label, of_label in tasks.items()}
    groups: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    fits: list[Mapping[str, FittedBaseline]] = []
    for labels in _of_same_rows(judged):
        tables = _tables_of({label: recipes[label] for label in labels}, tasks, frames)
        recipe = recipes[labels[0]].model_copy(update={"seed": seeds[0], "refit": _refit_of_any(recipes, labels)})
        wanted = None if baselines is None else tuple(baselines) or _PLAIN
        beside = judge_baselines(chosen_for(recipe, headline), tables, wanted, tell)
        fits.append(beside.fits)
        skipped |= {name: fit["skipped"] for name, fit in beside.figures["fits"].items() if fit["skipped"] is not None}
        found = standings(
            {label: judged[label] for label in labels},
            JudgedRun(beside.rows, beside.frozen),
            headline,
            ks=recipe.evaluation.ks,
            seed=recipe.seed,
        )
        groups.append({"labels": labels, "baselines": beside.figures["fits"], "chosen_by": beside.figures["metric"], **found})
    results = {label: [_result(task.folder) for task in of_label] for label, of_label in tasks.items()}
    summary = {
        "metric": headline.metric,
        "seen": "removed" if headline.removed else "included",
        "seeds": list(seeds),
        "settings": {
            label: {
                "folders": [str(task.folder) for task in of_label],
                "seconds": [_seconds(result) for result in results[label]],
            }
            for label, of_label in tasks.items()
        },
        "groups": groups,
        "skipped": skipped,
        "notes": _notes(recipes, results, groups, seeds),
    }
    write_json(place / "compare.json", cast(JSON, summary))
    return Comparison(place, summary, {task.folder: task.name for task in every_task}, tuple(fits))


def _require(recipes: Mapping[str, Recipe], seeds: Sequence[int], jobs: int | None) -> None:
    if not recipes or not seeds:
        raise ConfigError("a comparison needs at least one recipe and one seed")
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ConfigError(f"seeds must differ, and be at least 0; came {', '.join(map(str, seeds))}")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs must be at least 1; came {jobs}")
    taken = [label for label in recipes if label in BASELINE_NAMES]
    if taken:
        raise ConfigError(f"{taken[0]!r} is the name of a baseline; call the recipe otherwise")


def _jobs(wanted: int | None, recipe: Recipe, tasks: int) -> int:
    if wanted is not None:
        return min(wanted, tasks)
    if resolve_device(recipe.device).type != "cpu":
        return 1
    return max(1, min(tasks, os.cpu_count() or 1, _MOST_JOBS))


def _places(labels: Sequence[str]) -> dict[str, str]:
    """A folder for every label; where two would share one, a hash tells them apart."""
    plain = {label: Setting(label, ()).folder for label in labels}
    alike = [name.lower() for name in plain.values()]  # some file systems tell no case apart

    def place(label: str) -> str:
        name = plain[label]
        unclear = not name or alike.count(name.lower()) > 1
        return "-".join([name, hashlib.sha256(label.encode()).hexdigest()[:8]]).strip("-") if unclear else name

    return {label: place(label) for label in labels}


def _judged(place: RunFolder) -> JudgedRun:
    frozen = JudgedRows.read(place.judged_frozen) if place.judged_frozen.exists() else None
    return JudgedRun(JudgedRows.read(place.judged), frozen)


def _result(folder: Path) -> dict[str, Any]:
    place = RunFolder(folder).result
    return cast(dict[str, Any], parse_json(place.read_bytes(), source=str(place)))


def _seconds(result: Mapping[str, Any]) -> dict[str, float]:
    """Of training steps, to choose the epoch and (where it is another training) to train what was judged; of judging."""
    return {
        "selection": result["selection"]["seconds"],
        "training": result["training"]["seconds"],
        "evaluation": result["evaluation"]["seconds"],
    }


def _tables_of(recipes: Mapping[str, Recipe], tasks: Mapping[str, Sequence[RunTask]], frames: Frames) -> Tables:
    """The tables of the first recipe, once it is sure that no run is of others: one that is kept may be older than they are."""
    found: dict[str, Tables] = {}
    for label, recipe in recipes.items():
        key = f"{recipe.data.model_dump_json()} {recipe.split.model_dump_json()}"
        if key not in found:
            found[key] = load_tables(
                recipe, interactions=frames.interactions, items=frames.items, users=frames.users, cache_dir=frames.cache_dir
            )
        for task in tasks[label]:
            require_same_tables(task.folder, open_bundle(RunFolder(task.folder).bundle).card, found[key])
    return next(iter(found.values()))


def _refit_of_any(recipes: Mapping[str, Recipe], labels: Sequence[str]) -> str:
    """What baselines stand beside: no model of the group may have learned from rows that they did not."""
    return next((recipes[label].refit for label in labels if recipes[label].refit != "none"), "none")


def _of_same_rows(judged: Mapping[str, Sequence[JudgedRun]]) -> list[list[str]]:
    """Labels whose runs were judged on the same rows."""
    groups: list[list[str]] = []
    for label, runs in judged.items():
        alike = (group for group in groups if judged[group[0]][0].rows.same_rows(runs[0].rows))
        group = next(alike, None)
        if group is None:
            groups.append([label])
        else:
            group.append(label)
    return groups


def _notes(
    recipes: Mapping[str, Recipe],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    groups: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
) -> list[str]:
    """What a reader of the ranking must know."""
    told: dict[str, list[str]] = {}
    for label, of_label in results.items():
        for note in dict.fromkeys(note for result in of_label for note in result["notes"]):
            told.setdefault(note, []).append(label)
    notes = [note if len(labels) == len(results) else f"{', '.join(labels)}: {note}" for note, labels in told.items()]
    for group in groups:
        plain = [label for label in group["labels"] if recipes[label].refit == "none"]
        if 0 < len(plain) < len(group["labels"]):
            be = "is" if len(plain) == 1 else "are"
            notes.append(
                f"{', '.join(plain)} {be} fitted on train rows alone, the others and the baselines on train and validation rows"
            )
    notes += dict.fromkeys(
        f"settings of baselines were chosen on validation rows by {group['chosen_by']}, and are the same in every table"
        for group in groups
        if any(fit["validation"] is not None for fit in group["baselines"].values())
    )
    if len(seeds) == 1:
        notes.append("one training seed: how much another seed would change is not known, and not in the intervals")
    if len(groups) > 1:
        notes.append("the recipes were judged on different test rows: they are ranked apart, and not paired")
    return notes
