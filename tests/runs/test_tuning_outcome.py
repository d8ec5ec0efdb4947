"""What a tuning writes."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from twotower.runs import parse_recipe
from twotower.runs.trial_record import TrialEnd, TrialRecord
from twotower.runs.tune_config import TuneKeyConfig
from twotower.runs.tuning_outcome import best_of, best_recipe_toml, edge_notes, own_text, position, state_words, trials_table

SPACE = {
    "loss.temperature": TuneKeyConfig(low=0.1, high=10.0, log=True),
    "model.layer_sizes": TuneKeyConfig(choices=((), (8,), (16, 8))),
    "model.input_dropout": TuneKeyConfig(low=0.0, high=0.5),
}


def record(number: int, value: float | None, state: str = "done", **changes: Any) -> TrialRecord:
    settings = {"loss.temperature": 1.0, "model.layer_sizes": (8,), "model.input_dropout": 0.2}
    end = TrialEnd(state, value, 2, 3)  # type: ignore[arg-type]
    return TrialRecord(number, state, changes.pop("settings", settings), {1: 0.1}, end, **changes)  # type: ignore[arg-type]


def test_the_best_is_a_finished_trial_the_first_of_equals() -> None:
    records = [record(0, 0.5), record(1, 0.7), record(2, 0.7), record(3, 0.9, "pruned"), record(4, None, "failed")]
    best, least = best_of(records, smaller=False), best_of(records, smaller=True)
    assert best is not None
    assert least is not None
    assert (best.number, least.number) == (1, 0)
    assert best_of(records[3:], smaller=False) is None
    assert state_words(records) == "5 trials (3 finished, 1 given up early, 1 failed)"


def test_the_best_recipe_reads_as_the_recipe_of_the_trial(make_recipe: Any) -> None:
    recipe = make_recipe()
    records = [record(0, 0.5, own=True), record(1, 0.75)]
    text = best_recipe_toml(recipe, SPACE, "recall@5", records, records[1])
    found = parse_recipe(tomllib.loads(text))
    assert found.name == "small-tuned"
    assert found.model.layer_sizes == (8,)
    assert found.model.input_dropout == 0.2
    assert found.training == recipe.training
    assert "# recall@5 0.7500 on validation rows, trial 1, epoch 2 of 3." in text
    assert "# The recipe as it was: 0.5000 (trial 0)." in text
    assert "# model.layer_sizes = [8], was []" in text
    assert "nothing that was tried is better" in best_recipe_toml(recipe, SPACE, "recall@5", records, records[0])


def test_a_value_at_the_end_of_its_range_is_noted() -> None:
    inside = record(0, 0.5)
    assert edge_notes(inside, SPACE) == []
    settings = {"loss.temperature": 9.9, "model.layer_sizes": (16, 8), "model.input_dropout": 0.0}
    (note,) = edge_notes(record(0, 0.5, settings=settings), SPACE)
    assert note.startswith("the best loss.temperature, 9.9, lies at the upper end of its range")


def test_places_between_the_ends() -> None:
    assert position(SPACE["loss.temperature"], 1.0) == pytest.approx(0.5)
    assert position(SPACE["model.layer_sizes"], (8,)) == 0.5
    assert position(SPACE["model.input_dropout"], 0.5) == 1.0


def test_the_table_holds_every_trial(make_recipe: Any) -> None:
    recipe = make_recipe()
    records = [record(0, 0.5), record(1, None, "failed")]
    table = trials_table(recipe, SPACE, "recall@5", records, records[0], {"loss.temperature": 1.0}, ["a note"])
    assert (table["name"], table["best"], len(table["trials"])) == ("small", 0, 2)
    assert table["space"]["loss.temperature"] == {"low": 0.1, "high": 10.0, "log": True}
    assert own_text(recipe, "training.optimizer.learning_rate") == "0.1"
    assert own_text(recipe, "training.clip_norm") == "not set"
