"""Recipes written out: what is read back is the same recipe, for every recipe that ships."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from twotower.config import Config
from twotower.data import TimeSplit
from twotower.errors import ConfigError
from twotower.runs import Recipe, parse_recipe, read_recipe
from twotower.runs.recipe_values import recipe_toml, recipe_values, value_at
from twotower.training import EarlyStopping

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_ships_comes_back_as_it_was(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    assert parse_recipe(recipe_values(recipe)) == recipe
    written = tmp_path / "again.toml"
    written.write_text(recipe_toml(recipe, ["a comment", "", "and another"]))
    assert read_recipe(written) == recipe
    assert written.read_text().startswith("# a comment\n#\n# and another\n")


def test_only_what_was_written_is_written(make_recipe: Any) -> None:
    values = recipe_values(make_recipe())
    assert values["training"] == {"epochs": 2, "batch_size": 16, "early_stopping": {"metric": "recall@5"}}
    assert values["query"]["features"] == [{"kind": "id", "column": "user", "embedding": {"dim": 4}}]
    assert "loss" not in values
    assert "tune" not in recipe_values(make_recipe(tune={"loss.temperature": {"low": 0.1, "high": 1.0}}))


def test_what_python_alone_can_say_is_said_otherwise_or_refused(make_recipe: Any) -> None:
    recipe = make_recipe()
    assert parse_recipe(recipe_values(make_recipe(training={"early_stopping": False}))).training.early_stopping is None
    endless = _with(recipe, "training", early_stopping=EarlyStopping(metric="recall@5", patience=None))
    stopping = parse_recipe(recipe_values(endless)).training.early_stopping
    assert stopping == EarlyStopping(metric="recall@5", patience=2)
    assert parse_recipe(recipe_values(recipe.model_copy(update={"split": TimeSplit(test=3)}))).split == TimeSplit(test=3)
    unsaid = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"ks": None})})
    with pytest.raises(ConfigError, match="made in Python"):
        recipe_values(unsaid)


def test_odd_names_and_values_survive_toml(make_recipe: Any) -> None:
    features = [{"kind": "category", "column": 'a "b"\n[c]', "missing": {"fill": "é"}, "embedding": {"dim": 2}}]
    recipe = make_recipe(query={"features": features}, training={"optimizer": {"kind": "adamw", "learning_rate": 1e-7}})
    assert parse_recipe(tomllib.loads(recipe_toml(recipe))) == recipe


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.batch_size", 16),
        ("loss.temperature", 1.0),
        ("model.layer_sizes", []),
        ("evaluation.ks", [1, 5]),
        ("query.features.0.embedding.dim", 4),
        ("query.features.0.kind", "id"),
        ("query.features.7.kind", None),
        ("loss.tempreture", None),
        ("loss.temperature.deeper", None),
    ],
)
def test_what_is_at_a_key(make_recipe: Any, key: str, value: object) -> None:
    assert value_at(make_recipe(), key) == value


def _with(recipe: Recipe, section: str, **changes: Config) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=changes)})
