"""Comparing recipes: runs that resume, verdicts that follow from them, failures that lose nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from twotower.errors import ConfigError, DataError, TrainingError
from twotower.evaluation import JudgedRows
from twotower.runs import Recipe
from twotower.runs.compare import compare, comparison_tasks
from twotower.runs.load_run import load_run
from twotower.runs.run_many import Frames, RunTask, run_many

MakeRecipe = Callable[..., Recipe]


def recipes(make_recipe: MakeRecipe, **sections: Any) -> dict[str, Recipe]:
    return {f"dim={dim}": make_recipe(model={"layer_sizes": [dim]}, **sections) for dim in (2, 8)}


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("result.json"))}


def standings_of(summary: dict[str, Any]) -> list[Any]:
    """All but the seconds that baselines took."""
    return [(group["labels"], group["rankers"], group["views"]) for group in summary["groups"]]


def test_the_result_says_what_the_runs_say(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    told: list[int] = []
    found = compare(
        recipes(make_recipe),
        tmp_path / "grid",
        seeds=(1, 2),
        baselines=(),
        jobs=1,
        interactions=interactions,
        watch=lambda: told.append(1),
    )
    assert json.loads((tmp_path / "grid" / "compare.json").read_text()) == found.summary
    assert (found.summary["metric"], found.summary["seen"], found.summary["seeds"]) == ("recall@5", "included", [1, 2])
    assert told
    assert {str(path.relative_to(found.folder)): name for path, name in found.runs.items()} == {
        "dim=2/seed-1": "dim=2, seed 1", "dim=2/seed-2": "dim=2, seed 2",
        "dim=8/seed-1": "dim=8, seed 1", "dim=8/seed-2": "dim=8, seed 2",
    }  # fmt: skip
    (group,) = found.summary["groups"]
    assert {entry["name"] for entry in group["rankers"]} == {"dim=2", "dim=8", "popularity", "random"}
    for label in ("dim=2", "dim=8"):
        runs = [found.folder / label / f"seed-{seed}" for seed in (1, 2)]
        recalls = [
            JudgedRows.read(path / "judged" / "test.parquet").values("model", "recall@5", removed=False) for path in runs
        ]
        entry = next(entry for entry in group["rankers"] if entry["name"] == label)
        assert entry["seeds"] == pytest.approx([each.mean() for each in recalls])
        stored = [json.loads((path / "recipe.json").read_text())["seed"] for path in runs]
        assert stored == [1, 2]
    assert set(group["views"]) == {"all", "frozen", "warm", "cold"}
    assert found.summary["notes"] == []


def test_the_same_call_resumes_and_seeds_can_be_added(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    grid = recipes(make_recipe)
    first = compare(grid, tmp_path / "grid", baselines=(), jobs=1, interactions=interactions)
    assert "one training seed" in first.summary["notes"][-1]
    before = stamps(tmp_path)
    again = compare(grid, tmp_path / "grid", baselines=(), jobs=1, interactions=interactions)
    assert stamps(tmp_path) == before
    assert standings_of(again.summary) == standings_of(first.summary)
    (tmp_path / "grid" / "dim=8" / "seed-1" / "result.json").unlink()
    more = compare(grid, tmp_path / "grid", seeds=(1, 2), baselines=(), jobs=1, interactions=interactions)
    after = stamps(tmp_path)
    assert len(after) == 4
    kept = str(tmp_path / "grid" / "dim=2" / "seed-1" / "result.json")
    assert after[kept] == before[kept]
    assert more.summary["groups"][0]["rankers"] != first.summary["groups"][0]["rankers"]


def test_several_jobs_give_the_figures_of_one(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    grid = recipes(make_recipe)
    one = compare(grid, tmp_path / "one", baselines=(), jobs=1, interactions=interactions)
    two = compare(grid, tmp_path / "two", baselines=(), jobs=2, interactions=interactions)
    assert standings_of(one.summary) == standings_of(two.summary)


def test_recipes_with_other_test_rows_are_ranked_apart(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    grid = {"late": make_recipe(), "few": make_recipe(split={"test": 15})}
    found = compare(grid, tmp_path / "grid", baselines=(), jobs=1, interactions=interactions).summary
    assert [group["labels"] for group in found["groups"]] == [["late"], ["few"]]
    assert [group["rows"] for group in found["groups"]] == [20, 15]
    assert any("ranked apart" in note for note in found["notes"])


def test_notes_name_the_recipes_that_they_are_about(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    plain = make_recipe()
    leaking = make_recipe(data={"fit_on": "all"})
    grid = {"a": plain, "b": leaking}
    notes = compare(grid, tmp_path / "ab", seeds=(1, 2), baselines=(), jobs=1, interactions=interactions).summary["notes"]
    assert [note[: len("b: leaking:")] for note in notes] == ["b: leaking:"]
    notes = compare({"b": leaking}, tmp_path / "ab", seeds=(1, 2), baselines=(), jobs=1, interactions=interactions).summary[
        "notes"
    ]
    assert [note[: len("leaking:")] for note in notes] == ["leaking:"]
    ease = compare(
        {"a": plain}, tmp_path / "ab", seeds=(1, 2), baselines=("ease",), removed=True, jobs=1, interactions=interactions
    )
    (note,) = ease.summary["notes"]
    assert "by recall@5 removed" in note


def test_baselines_are_those_asked_for(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    grid = {"m": make_recipe()}
    every = compare(grid, tmp_path / "grid", jobs=1, interactions=interactions).summary
    names = {entry["name"] for entry in every["groups"][0]["rankers"]} | set(every["skipped"])
    assert names == {
        "m", "random", "popularity", "recent_popularity", "segment_popularity", "item_neighbours", "ease", "ials",
    }  # fmt: skip
    some = compare(grid, tmp_path / "grid", baselines=["ease"], jobs=1, interactions=interactions).summary
    assert {entry["name"] for entry in some["groups"][0]["rankers"]} == {"m", "ease"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_is_named_and_the_others_are_kept(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, jobs: int
) -> None:
    grid = {"good": make_recipe(), "bad": make_recipe(query={"features": [{"kind": "category", "column": "nowhere"}]})}
    with pytest.raises(TrainingError, match=r"1 of 2 runs failed \(bad: .*nowhere.*the same command goes on"):
        compare(grid, tmp_path / "grid", baselines=(), jobs=jobs, interactions=interactions)
    assert (tmp_path / "grid" / "good" / "seed-1" / "result.json").exists()
    assert not (tmp_path / "grid" / "compare.json").exists()


def test_a_folder_of_another_grid_is_not_overwritten(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    compare({"m": make_recipe()}, tmp_path / "grid", baselines=(), jobs=1, interactions=interactions)
    before = stamps(tmp_path)
    with pytest.raises(TrainingError, match=r"another recipe \(training.epochs is 3, was 2\)"):
        compare({"m": make_recipe(training={"epochs": 3})}, tmp_path / "grid", baselines=(), jobs=1, interactions=interactions)
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("stale", [1, 2])
def test_a_run_of_other_tables_is_not_set_beside_those_of_today(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, stale: int
) -> None:
    """As many test rows of the same users, so that nothing but their contents tells them apart."""
    changed = interactions.with_columns(item=6 - pl.col("item").clip(0, 6))
    compare({"m": make_recipe()}, tmp_path / "grid", seeds=[stale], baselines=(), jobs=1, interactions=interactions)
    with pytest.raises(DataError, match=rf"seed-{stale}: the tables are not those of the run"):
        compare({"m": make_recipe()}, tmp_path / "grid", seeds=(1, 2), baselines=(), jobs=1, interactions=changed)


@pytest.mark.parametrize("refits", [("none", "train"), ("none", "none")])
def test_baselines_learn_from_all_that_any_model_beside_them_does(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, refits: tuple[str, ...]
) -> None:
    grid = {f"m{place}": make_recipe(refit=refit) for place, refit in enumerate(refits)}
    found = compare(grid, tmp_path / "grid", baselines=("popularity",), jobs=1, interactions=interactions)
    fitted = found.baselines[0]["popularity"].scorer
    assert fitted is not None
    phase = load_run(tmp_path / "grid" / "m0" / "seed-1", interactions=interactions).phase
    examples = phase.examples(phase.tables.split.test, grow=True)
    counted = next(iter(fitted(examples).tiles(torch.tensor([0]), 100)))[1].sum()
    assert counted == (70 if refits == ("none", "none") else 80)
    assert any("m0 is fitted on train rows" in note for note in found.summary["notes"]) == (refits == ("none", "train"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes": {}}, "at least one recipe"),
        ({"seeds": ()}, "at least one recipe and one seed"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"seeds": (-1,)}, "at least 0"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"metric": "loss"}, "metric must be"),
        ({"label": "ease"}, "'ease' is the name of a baseline"),
    ],
)
def test_wrong_questions_are_refused_before_anything_is_written(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    grid = change.pop("recipes", {change.pop("label", "m"): make_recipe()})
    with pytest.raises(ConfigError, match=message):
        compare(grid, tmp_path / "grid", interactions=interactions, **{"jobs": 1, **change})
    assert not (tmp_path / "grid").exists()


def test_labels_that_one_folder_name_would_confuse_have_folders_of_their_own(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    found = comparison_tasks({"a/b": recipe, "a:b": recipe, "A b": recipe, "?": recipe, "c": recipe}, "x", [1])
    folders = [str(tasks[0].folder.parent.name) for tasks in found.values()]
    assert len({folder.lower() for folder in folders}) == 5
    assert all(folders)
    assert folders[-1] == "c"


def test_a_process_that_is_killed_is_told(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    """The process of a run that would take for ever dies once the other run has finished, which is not felt there."""
    endless = make_recipe(training={"epochs": 1_000_000, "early_stopping": False})
    tasks = [RunTask("dies", endless, tmp_path / "dies"), RunTask("lives", make_recipe(), tmp_path / "lives")]

    def kill() -> None:
        if (tmp_path / "dies" / "metrics.jsonl").exists() and (tmp_path / "lives" / "result.json").exists():
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGKILL)

    found = run_many(tasks, frames=Frames(interactions=interactions), jobs=2, watch=kill)
    assert list(found) == ["dies"]
    assert "ended without an answer (exit status -9)" in found["dies"]
    assert multiprocessing.active_children() == []


def test_processes_end_when_the_call_is_interrupted(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    endless = make_recipe(training={"epochs": 1_000_000, "early_stopping": False})

    def interrupt() -> None:
        if (tmp_path / "a" / "metrics.jsonl").exists():
            raise KeyboardInterrupt

    tasks = [RunTask(name, endless, tmp_path / name) for name in ("a", "b")]
    with pytest.raises(KeyboardInterrupt):
        run_many(tasks, frames=Frames(interactions=interactions), jobs=2, watch=interrupt)
    assert multiprocessing.active_children() == []
