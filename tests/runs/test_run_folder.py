"""Who may write into a run's folder, what resuming and starting over mean."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.columnar import Converting
from twotower.errors import CheckpointError, ConfigError, CorruptBundleError
from twotower.recommender import Recommender
from twotower.runs import Recipe, RunFolder, reevaluate, run
from twotower.runs.run_folder import flat_keys
from twotower.training import EpochDone, StepDone, TrainingEvent

MakeRecipe = Callable[..., Recipe]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop_at(phase: str, epoch: int) -> Callable[[str, TrainingEvent | Converting | str], None]:
    """A listener that ends the run as a person would, in the middle of an epoch."""

    def listen(now: str, event: TrainingEvent | Converting | str) -> None:
        if now == phase and isinstance(event, StepDone) and (event.epoch, event.batch) == (epoch, 2):
            raise KeyboardInterrupt

    return listen


def test_a_finished_run_gives_its_result_without_training(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    first = run(make_recipe(), tmp_path / "run", interactions=interactions)
    before = files(tmp_path / "run")
    heard: list[str] = []
    again = run(make_recipe(), tmp_path / "run", resume=True, listener=lambda phase, _: heard.append(phase))
    assert again.summary == json.loads(json.dumps(first.summary))
    assert heard == []
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("phase", ["select", "refit", "production"])
def test_an_interrupted_run_goes_on_to_the_same_end(
    phase: str, make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe(
        refit="all", training={"epochs": 2, "batch_size": 24, "checkpoint_every_s": 0, "early_stopping": False}
    )
    whole = run(recipe, tmp_path / "whole", interactions=interactions)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "cut", interactions=interactions, listener=stop_at(phase, 0))
    assert not (tmp_path / "cut" / "result.json").exists()
    heard: list[tuple[str, int]] = []

    def listen(now: str, event: TrainingEvent | Converting | str) -> None:
        if isinstance(event, StepDone):
            heard.append((now, event.step))

    resumed = run(recipe, tmp_path / "cut", interactions=interactions, resume=True, listener=listen)
    assert resumed.summary["metrics"] == whole.summary["metrics"]
    assert heard[0][0] == phase
    assert heard[0][1] > 1, "the steps before the interruption are not repeated"
    for name in ("weights.safetensors", "item_vectors.safetensors"):
        assert (tmp_path / "cut" / "bundle" / name).read_bytes() == (tmp_path / "whole" / "bundle" / name).read_bytes()

    def epochs(folder: str) -> list[tuple[str, int, float]]:
        lines = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        return [(line["phase"], line["epoch"], line["loss"]) for line in lines]

    assert epochs("cut") == epochs("whole")


def test_resuming_on_other_tables_is_refused(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(training={"checkpoint_every_s": 0})
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "run", interactions=interactions, listener=stop_at("select", 1))
    with pytest.raises(CheckpointError, match="another recipe, data set"):
        run(recipe, tmp_path / "run", interactions=interactions.reverse(), resume=True)


@pytest.mark.parametrize("name", ["result.json", "recipe.json"])
def test_what_is_damaged_is_named(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, name: str) -> None:
    recipe = make_recipe()
    run(recipe, tmp_path / "run", interactions=interactions)
    place = tmp_path / "run" / name
    place.write_bytes(place.read_bytes()[:40])
    with pytest.raises(CorruptBundleError, match=f"{name} must be JSON"):
        run(recipe, tmp_path / "run", interactions=interactions, resume=True)


def test_a_run_is_there_already(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    run(make_recipe(), tmp_path / "run", interactions=interactions)
    before = files(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"--resume.*--overwrite"):
        run(make_recipe(), tmp_path / "run", interactions=interactions)
    with pytest.raises(ConfigError, match=r"training\.batch_size is 8, was 16"):
        run(make_recipe(training={"batch_size": 8}), tmp_path / "run", interactions=interactions, resume=True)
    with pytest.raises(ConfigError, match="one of them"):
        run(make_recipe(), tmp_path / "run", interactions=interactions, resume=True, overwrite=True)
    assert files(tmp_path / "run") == before


def test_starting_over_keeps_the_old_bundle_until_the_new_one_is_there(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run(make_recipe(refit="all"), folder, interactions=interactions)
    old = files(folder / "bundle")
    recipe = make_recipe(seed=2)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, folder, interactions=interactions, overwrite=True, listener=stop_at("select", 1))
    assert files(folder / "bundle") == old
    assert not (folder / "result.json").exists()
    assert Recommender.load(folder).card["recipe"]["seed"] == 1
    assert reevaluate(folder, interactions=interactions)["metrics"]
    run(recipe, folder, interactions=interactions, resume=True)
    assert Recommender.load(folder).card["recipe"]["seed"] == 2
    assert not (folder / "measured").exists(), "of the old run"
    assert [entry.name for entry in (folder / "checkpoints").iterdir()] == ["select"], "no state of the old run is left"
    assert reevaluate(folder, interactions=interactions)["recipe"] == "small"


def test_starting_over_starts_with_fresh_weights(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    run(make_recipe(), tmp_path / "run", interactions=interactions)
    first = (tmp_path / "run" / "bundle" / "weights.safetensors").read_bytes()
    epochs: list[int] = []

    def listen(_: str, event: TrainingEvent | Converting | str) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event.epoch)

    run(make_recipe(), tmp_path / "run", interactions=interactions, overwrite=True, listener=listen)
    assert epochs == [1, 2]
    assert (tmp_path / "run" / "bundle" / "weights.safetensors").read_bytes() == first


def test_a_recipe_that_does_not_fit_leaves_no_run(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    wrong = make_recipe(query={"layer_sizes": [7]})
    with pytest.raises(ConfigError, match="query gives 7"):
        run(wrong, tmp_path / "run", interactions=interactions)
    run(make_recipe(), tmp_path / "run", interactions=interactions)
    with pytest.raises(ConfigError, match="query gives 7"):
        run(wrong, tmp_path / "run", interactions=interactions, overwrite=True)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["query"]["layer_sizes"] is None
    assert (tmp_path / "run" / "result.json").exists()


def test_two_processes_do_not_write_into_one_folder(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    program = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "sys.stdout.write('held\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", program, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        folder = RunFolder(tmp_path / "run")
        with pytest.raises(ConfigError, match="another process"), folder.open(make_recipe(), resume=False, overwrite=False):
            pass
        other.communicate("")
    with folder.open(make_recipe(), resume=False, overwrite=False):
        folder.begin(make_recipe(), overwrite=False)
    assert folder.recipe.exists()


def test_foreign_folders_are_left_alone(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="other things"):
            run(make_recipe(), tmp_path / "mine", interactions=interactions, overwrite=overwrite)
    assert files(tmp_path / "mine") == {"thesis.txt": b"words"}


def test_a_temporary_of_a_killed_run_is_no_foreign_thing(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.json.123.tmp").write_text("{")
    run(make_recipe(), tmp_path / "run", interactions=interactions, resume=True)
    assert (tmp_path / "run" / "bundle").is_dir()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b": [1, {"c": 2}]}, "d": []}, {"a.b.0": 1, "a.b.1.c": 2, "d": []}),
        ({}, {"": {}}),
    ],
)
def test_flat_keys(value: Any, expected: dict[str, Any]) -> None:
    assert flat_keys(value) == expected


def test_a_recipe_of_before_a_section_was_there_is_the_same(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe()
    metrics = run(recipe, tmp_path / "run", interactions=interactions).summary["metrics"]
    path = tmp_path / "run" / "recipe.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "baselines"}))
    assert run(recipe, tmp_path / "run", interactions=interactions, resume=True).summary["metrics"] == metrics
    other = make_recipe(baselines={"train": ["random"]})
    with pytest.raises(ConfigError, match=r"another recipe \(baselines\.train\.0 is 'random', was 'popularity'"):
        run(other, tmp_path / "run", interactions=interactions, resume=True)


def begins(
    place: RunFolder, of: Recipe, *, by: str = "one", again: bool, begin: bool = False, **flags: bool
) -> tuple[bool, bool]:
    """How a command begins that was given the flags; and whether it comes as far as to begin."""
    found = {"resume": False, "overwrite": False, **flags}
    with place.open(of, **found, started_again_by=[by, "another"] if again else []) as (resume, overwrite):
        if begin:
            place.begin(of, overwrite=overwrite, agents=[by])
        return resume, overwrite


def test_ranks_that_are_started_again_go_on_only_with_what_they_had_begun(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    of, place = make_recipe(), RunFolder(tmp_path / "run")
    assert begins(place, of, again=False) == (False, False)
    assert begins(place, of, again=True) == (False, False), "one died while tables were read"
    assert begins(place, of, again=True, begin=True) == (False, False)
    assert begins(place, of, again=True, begin=True) == (True, False)
    # another command: what it may not do first, it may not do after a restart, also where it did not come here first
    for again in (True, False, True):
        with pytest.raises(ConfigError, match="a run is there already; go on with --resume"):
            begins(place, of, by="two", again=again)
    # starting over is started over until it has begun, and gone on with from then on, also when all is written
    assert begins(place, of, by="two", again=True, overwrite=True) == (False, True)
    assert begins(place, of, by="two", again=True, overwrite=True, begin=True) == (False, True)
    place.result.write_text("{}")
    before = files(place.path)
    assert begins(place, of, by="two", again=True, overwrite=True) == (True, False)
    assert begins(place, of, by="three", again=True, overwrite=True) == (False, True)
    assert begins(place, of, by="three", again=False, resume=True) == (True, False)
    assert files(place.path) == before
    with place.open(of, resume=True, overwrite=False):  # one process
        place.begin(of, overwrite=False)
    assert not place.begun.exists()
    # killed after the mark, before there is a recipe
    place.recipe.unlink()
    place.result.unlink()
    for path in place.path.iterdir():
        path.unlink()
    place.begun.write_text("one\n")
    assert begins(place, of, again=True) == (True, False)
    assert begins(place, of, by="four", again=False, begin=True) == (False, False)
