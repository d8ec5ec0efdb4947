"""Whole tunings of a small planted table: what is found, gone on with, killed, refused."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.errors import ConfigError, StoreError, TrainingError
from twotower.runs import read_recipe
from twotower.runs.recipe_values import recipe_toml
from twotower.runs.tuning import TuningProgress, TuningResult, tune

pytest.importorskip("optuna")

PLANTED = {"training.optimizer.learning_rate": {"low": 1e-6, "high": 0.3, "log": True}}
SPACE = {**PLANTED, "model.input_dropout": {"low": 0.0, "high": 0.4, "step": 0.1}}


@pytest.fixture(scope="session")
def planted() -> pl.DataFrame:
    """Each user chooses among four of twenty items, so that a model that has learned anything is far above one that has not."""
    rows = [(f"u{u}", 4 * (u % 5) + (s + u) % 4, 10 * s + u) for s in range(12) for u in range(10)]
    return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


@pytest.fixture(scope="session")
def recipe(make_recipe: Any) -> Any:
    return make_recipe(
        name="planted",
        query={"features": [{"kind": "id", "column": "user", "embedding": {"dim": 8}}]},
        candidate={"features": [{"kind": "id", "column": "item", "embedding": {"dim": 8}}]},
        training={"epochs": 3, "optimizer": {"kind": "adamw", "learning_rate": 1e-5}},
        tune=SPACE,
    )


@pytest.fixture(scope="session")
def tuned(recipe: Any, planted: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> TuningResult:
    """Eight trials; for reading only."""
    return tune(recipe, tmp_path_factory.mktemp("tuned") / "tune", trials=8, interactions=planted)


def told(found: TuningResult) -> list[Any]:
    """What every trial that counts tried and came to."""
    return [(dict(r.settings), r.state, r.value, dict(r.curve)) for r in found.records if r.counts]


def test_better_values_than_the_recipe_are_found(tuned: TuningResult, recipe: Any) -> None:
    summary = tuned.summary
    assert (summary["metric"], summary["rows"]) == ("recall@5", {"train": 90, "validation": 10})
    assert sum(summary["trials"].values()) == 8
    assert summary["own"]["number"] == 0
    assert summary["own"]["settings"] == {"training.optimizer.learning_rate": 1e-5, "model.input_dropout": 0.0}
    assert summary["best"]["value"] > summary["own"]["value"]
    assert tuned.best.training.optimizer.learning_rate == summary["best"]["settings"]["training.optimizer.learning_rate"]


def test_what_is_written_is_what_was_found(tuned: TuningResult) -> None:
    assert {path.name for path in tuned.folder.iterdir()} == {".lock", "study.sqlite", "trials.json", "best.toml"}
    table = json.loads((tuned.folder / "trials.json").read_text())
    assert table["trials"] == json.loads(json.dumps([record.to_json() for record in tuned.records]))
    assert table["best"] == tuned.summary["best"]["number"]
    best = read_recipe(tuned.folder / "best.toml")
    assert best == tuned.best.model_copy(update={"name": "planted-tuned", "tune": {}})


def test_the_same_seed_tries_the_same_and_an_interruption_changes_nothing(
    tuned: TuningResult, recipe: Any, planted: pl.DataFrame, tmp_path: Path
) -> None:
    def interrupt(progress: TuningProgress) -> None:
        if progress.done == 3 and progress.running.get(3) is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(recipe, tmp_path / "tune", trials=8, interactions=planted, listener=interrupt)
    assert json.loads((tmp_path / "tune" / "trials.json").read_text())["best"] is not None
    with pytest.raises(ConfigError, match="go on with --resume"):
        tune(recipe, tmp_path / "tune", trials=8, interactions=planted)
    found = tune(recipe, tmp_path / "tune", trials=8, interactions=planted, resume=True)
    assert told(found) == told(tuned)
    assert found.records[3].state == "interrupted"
    assert "trial 3 was interrupted, and is tried again" in found.summary["notes"]
    again = tune(recipe, tmp_path / "tune", trials=8, interactions=planted, resume=True)
    assert again.records == found.records  # all were made: nothing is left to do
    _refuses_what_differs(recipe, planted, tmp_path / "tune")


def _refuses_what_differs(recipe: Any, planted: pl.DataFrame, folder: Path) -> None:
    """Another recipe, space, metric, seed or table is another tuning."""
    longer = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 4})})
    for other, options, message in (
        (longer, {}, "training.epochs is 4, was 3"),
        (recipe.model_copy(update={"tune": {key: recipe.tune[key] for key in PLANTED}}), {}, "tune: model.input_dropout"),
        (recipe, {"metric": "mrr"}, "another recipe"),
        (recipe, {"seed": 9}, "seed is 9, was 0"),
        (recipe, {"interactions": planted[:-1]}, "contents of the tables"),
    ):
        with pytest.raises(ConfigError, match=message):
            tune(other, folder, **{"trials": 9, "interactions": planted, "resume": True, **options})  # type: ignore[arg-type]


def test_time_ends_a_tuning_and_no_trial_is_an_error(recipe: Any, planted: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no trial of 0 gave a figure; give it more time"):
        tune(recipe, tmp_path / "a", trials=4, timeout_s=0, interactions=planted)
    failing = recipe.model_copy(
        update={
            "tune": {"training.optimizer.learning_rate": recipe.tune["training.optimizer.learning_rate"].model_copy(
                update={"low": 1e37, "high": 1e38}
            )}
        }
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"no trial of 2 gave a figure: .*finite"):
        tune(failing, tmp_path / "b", trials=2, interactions=planted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": {"kind": "time", "test": 20, "validation": 0}}, "split.validation gives no rows"),
        ({"tune": {"loss.tempreture": {"low": 0.1, "high": 1.0}}}, "loss.tempreture: unknown key; did you mean 'temperature'"),
        ({"tune": {"model.input_dropout": {"low": 0.5, "high": 2.0}}}, "tune.model.input_dropout = 2.0"),
        ({"tune": {"query.features.0.embedding.dim": {"choices": [4, 8]}}}, "both towers must give vectors of one width"),
    ],
)
def test_bad_input_is_one_error_and_writes_nothing(
    make_recipe: Any, interactions: pl.DataFrame, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tune(make_recipe(**changes), tmp_path / "tune", trials=1, interactions=interactions)
    assert [path.name for path in (tmp_path / "tune").iterdir() if path.name != ".lock"] == []


def test_a_storage_that_fails_in_the_middle_is_one_error(recipe: Any, planted: pl.DataFrame, tmp_path: Path) -> None:
    def break_it(progress: TuningProgress) -> None:
        if progress.running.get(1) is not None:
            with closing(sqlite3.connect(tmp_path / "tune" / "study.sqlite")) as connection, connection:
                connection.execute("DROP TABLE trials")

    with pytest.raises(StoreError, match="can't be read or written"):
        tune(recipe, tmp_path / "tune", trials=3, interactions=planted, listener=break_it)


PROGRAM = """
import sys
from pathlib import Path
from twotower.runs import read_recipe
from twotower.runs.tuning import tune

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tune(read_recipe(folder / "recipe.toml"), folder / "tune", trials=8, resume=True, jobs=int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tuning_that_is_killed_goes_on(
    tuned: TuningResult, recipe: Any, planted: pl.DataFrame, tmp_path: Path, jobs: int
) -> None:
    planted.write_csv(tmp_path / "log.csv")
    text = recipe_toml(recipe).replace("[data]\n", "")
    keys = "".join(f"[tune.{key}]\n" + "".join(f"{k} = {str(v).lower()}\n" for k, v in of.items()) for key, of in SPACE.items())
    (tmp_path / "recipe.toml").write_text(f"{text}\n[data.interactions]\npath = 'log.csv'\n{keys}")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path), str(jobs)]
    killed = 0
    for seconds in (1.0, 2.5):
        process = subprocess.Popen(command, start_new_session=True)
        storage = tmp_path / "tune" / "study.sqlite"
        while process.poll() is None and not storage.exists():
            time.sleep(0.05)
        time.sleep(seconds)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    subprocess.run(command, check=True, timeout=500)
    found = tune(read_recipe(tmp_path / "recipe.toml"), tmp_path / "tune", trials=8, resume=True)
    assert killed
    assert len(told(found)) == 8
    if jobs == 1:  # of several at a time, which ends first decides what is tried next
        assert told(found) == told(tuned)
