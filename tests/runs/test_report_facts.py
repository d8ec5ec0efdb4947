"""What a report says of a run besides its ranks, against the files of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import polars as pl
import pytest

from twotower.runs import LoadedRun, Recipe, load_run, run
from twotower.runs.report_facts import facts, outcomes, training


@pytest.fixture(scope="module")
def loaded(
    make_recipe: Callable[..., Recipe],
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> LoadedRun:
    recipe = make_recipe(
        refit="train", data={"columns": {"unknown_items": "drop"}}, training={"early_stopping": {"metric": "recall@5 removed"}}
    )
    folder = run(recipe, tmp_path_factory.mktemp("facts") / "run", interactions=interactions, items=items).folder
    return load_run(folder, interactions=interactions, items=items)


def test_seconds_add_up_phase_by_phase(loaded: LoadedRun) -> None:
    records = [json.loads(line) for line in loaded.place.metrics.read_text().splitlines()]
    found = training(loaded)
    assert [(epoch.phase, epoch.epoch, epoch.loss) for epoch in found.epochs] == [
        (record["phase"], record["epoch"], record["loss"]) for record in records
    ]
    for phase in ("select", "refit"):
        expected = list(accumulate(record["seconds"] for record in records if record["phase"] == phase))
        assert [epoch.seconds for epoch in found.epochs if epoch.phase == phase] == pytest.approx(expected)
        assert len(expected) >= 1
    assert found.metric == "recall@5 removed"
    assert found.validated_on == "validation"
    assert found.chosen_epoch == loaded.result["selection"]["epoch"]
    spent = facts(loaded).seconds
    assert spent["training to choose the epoch"] == pytest.approx(sum(r["seconds"] for r in records if r["phase"] == "select"))
    assert set(spent) == {
        "training to choose the epoch",
        "training anew on train and validation rows",
        "judging the model",
    }


def test_what_a_curve_is_of(
    loaded: LoadedRun, make_recipe: Callable[..., Recipe], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    assert (training(loaded).smaller_is_better, training(loaded).tasks) == (False, ())
    recipe = make_recipe(tasks=[{"name": "stars", "column": "rating"}], training={"early_stopping": {"metric": "stars rmse"}})
    found = training(load_run(run(recipe, tmp_path / "run", interactions=interactions).folder, interactions=interactions))
    assert (found.metric, found.smaller_is_better, found.tasks) == ("stars rmse", True, ("stars",))
    alone = make_recipe(tasks=[{"name": "stars", "column": "rating"}], loss={"weight": 0}, training={"early_stopping": False})
    found = training(load_run(run(alone, tmp_path / "alone", interactions=interactions).folder, interactions=interactions))
    assert (found.metric, found.smaller_is_better) == ("stars rmse", True)
    assert all("stars rmse" in epoch.metrics for epoch in found.epochs)


def test_the_recipe_is_told_key_by_key(loaded: LoadedRun) -> None:
    found = facts(loaded).recipe
    assert found["training.epochs"] == "2"
    assert found["split.kind"] == '"time"'
    assert found["evaluation.ks"] == "[1, 5]"
    assert found["model.layer_sizes"] == "[]"
    assert found["query.features.0.feature.column"] == '"user"'
    assert "evaluation.ks.0" not in found


def test_circumstances_are_those_of_the_run(loaded: LoadedRun) -> None:
    found, result = facts(loaded), loaded.result
    assert found.hardware["device"] == "cpu"
    assert found.hardware["torch threads"] == str(result["hardware"]["torch_threads"])
    assert found.peak_memory_bytes == result["peak_memory_bytes"]
    assert found.trained_on == "train and validation rows"
    assert found.versions["torch"]
    assert found.data[0].startswith("100 rows read")
    assert any("2 rows dropped: item not in the catalogue" in line for line in found.data)
    assert any("rows train" in line for line in found.data)
    assert len(found.data) == len(set(found.data))


def test_an_older_run_did_not_record_its_hardware(loaded: LoadedRun) -> None:
    result = loaded.result
    text = loaded.place.result.read_text()
    try:
        loaded.place.result.write_text(json.dumps({key: value for key, value in result.items() if key != "hardware"}))
        assert facts(loaded).hardware == {"device": "cpu"}
    finally:
        loaded.place.result.write_text(text)


def test_tasks_are_told_with_their_baselines() -> None:
    errors = {"rmse": 0.9, "mae": 0.7, "intervals": {"rmse": [0.8, 1.0]}}
    judged = {
        "rows": 9,
        "not_judged": 1,
        "model": errors,
        "mean": {**errors, "rmse": 1.1},
        "damped_means": errors,
        "differences": {"mean": {"mean_squared_error": -0.4, "interval": [-0.5, -0.3], "p_value": 0.002}},
    }
    (found,) = outcomes({"outcomes": {"rating": judged, "unseen": {"rows": 0, "not_judged": 10}}})
    assert (found.name, found.rows) == ("rating", 9)
    assert list(found.errors) == ["model", "mean", "damped_means"]
    assert (found.errors["model"]["rmse"].low, found.errors["model"]["rmse"].high) == (0.8, 1.0)
    assert found.errors["model"]["mae"].low is None
    assert found.errors["mean"]["rmse"].value == 1.1
    assert found.differences["mean"].value == -0.4
    assert outcomes({}) == ()
