"""Spaces: what a recipe asks for, what is made from one, and what can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twotower.errors import ConfigError
from twotower.runs import read_recipe
from twotower.runs.search_space import check_space, default_space, own_settings, own_value, search_space, tuned_recipe
from twotower.runs.tune_config import TuneKeyConfig

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.toml"))
RATE = {"low": 1e-4, "high": 1e-2, "log": True}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_space_of_every_recipe_holds_the_recipe_and_makes_recipes_at_its_ends(path: Path) -> None:
    recipe = read_recipe(path)
    space = search_space(recipe)
    assert {"training.optimizer.learning_rate", "training.batch_size"} <= set(space)
    assert check_space(recipe, space) == {}
    own = own_settings(recipe, space)
    assert own is not None
    again = tuned_recipe(recipe, space, own)
    learning_rate = again.training.optimizer.learning_rate
    assert again.model_copy(update={"training": recipe.training}) == recipe
    assert recipe.training.optimizer.learning_rate in (None, learning_rate)


def test_widths_that_must_agree_are_tuned_as_one() -> None:
    by_name = {path.stem: path for path in RECIPES}
    space = default_space(read_recipe(by_name["movielens"]))
    width = space["query.features.0.embedding.dim"]
    assert width.choices == (32, 64, 128)
    assert width.also == tuple(
        f"{key}.embedding.dim" for key in ("query.features.1", "query.features.2", "candidate.features.0")
    )
    added = default_space(read_recipe(by_name["livestream"]))  # history, recent and broadcaster are added to the vector
    assert added["query.features.0.embedding.dim"].also == ()
    assert all(sizes[-1] == 128 for sizes in added["model.layer_sizes"].choices or ())  # type: ignore[index]
    assert added["training.optimizer.sparse_learning_rate"].low == 0.01


def test_what_has_no_meaning_is_not_tuned(make_recipe: Any) -> None:
    plain = default_space(make_recipe(training={"optimizer": {"kind": "rowwise_adagrad"}}))
    assert not {"training.optimizer.weight_decay", "model.layer_sizes", "model.hidden_dropout"} & set(plain)
    deep = default_space(make_recipe(model={"layer_sizes": [8, 4], "l2_normalise": True, "input_dropout": 0.33}))
    assert "model.hidden_dropout" in deep
    assert deep["loss.temperature"].low == 0.02
    assert deep["model.input_dropout"].step is None
    assert deep["model.input_dropout"].holds(0.33)


def test_what_a_recipe_says_takes_the_place_of_the_default(make_recipe: Any) -> None:
    recipe = make_recipe(tune={"training.optimizer.learning_rate": RATE})
    assert list(search_space(recipe)) == ["training.optimizer.learning_rate"]


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"split.test": {"choices": [10, 20]}}, "'split.test' decides what is judged"),
        ({"seed": {"low": 1, "high": 5}}, "'seed' decides what is judged"),
        ({"warm_start.rows": {"choices": ["new", "all"]}}, "'warm_start.rows' says how a run goes on .* and trials begin anew"),
        ({"loss.temperature": {"low": 0.1, "high": 1.0, "also": ["warm_start.replay"]}}, "'warm_start.replay' says how"),
        ({"trainig.batch_size": {"choices": [8, 16]}}, "'trainig.batch_size' is no key of a recipe; did you mean 'training'"),
        ({"training.early_stopping.metric": {"choices": ["mrr", "ndcg@10"]}}, "say that with --metric"),
        ({"training.early_stopping": {"choices": [{"metric": "mrr"}, {"metric": "ndcg@10"}]}}, "say that with --metric"),
        ({"model": {"choices": [{"a": 1}, {"a": 2}]}, "model.layer_sizes": {"choices": [[1], [2]]}}, "is a part of 'model'"),
        (
            {"loss.temperature": {**RATE, "also": ["training.batch_size"]}, "training.batch_size": {"choices": [8, 16]}},
            "comes twice",
        ),
    ],
)
def test_keys_that_can_not_be_tuned_are_named(make_recipe: Any, tune: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_space(make_recipe(tune=tune))


def test_an_unknown_key_is_one_fault_with_the_nearest_name(make_recipe: Any) -> None:
    recipe = make_recipe(tune={"training.optimizer.learnin_rate": RATE})
    faults = check_space(recipe, search_space(recipe))
    assert faults == {
        "training.optimizer.learnin_rate": ["tune: training.optimizer.learnin_rate: unknown key; did you mean 'learning_rate'?"]
    }


def test_each_end_is_built(make_recipe: Any) -> None:
    recipe = make_recipe(tune={"model.input_dropout": {"low": 0.0, "high": 1.5}, "loss.temperature": RATE})
    faults = check_space(recipe, search_space(recipe))
    assert list(faults) == ["model.input_dropout"]
    assert faults["model.input_dropout"][0].startswith("tune.model.input_dropout = 1.5: model.input_dropout: ")
    built = []

    def build(found: Any) -> None:
        built.append(found.loss.temperature)
        if found.loss.temperature > 0.005:
            raise ConfigError("too warm")

    warm = check_space(recipe, {"loss.temperature": TuneKeyConfig(**RATE)}, build)
    assert built == [1e-4, 1e-2]
    assert warm == {"loss.temperature": ["tune.loss.temperature = 0.01: too warm"]}


def test_a_recipe_outside_of_its_space_has_no_settings_there(make_recipe: Any) -> None:
    recipe = make_recipe()
    assert own_settings(recipe, {"loss.temperature": TuneKeyConfig(**RATE)}) is None
    assert own_settings(recipe, {"loss.temperature": TuneKeyConfig(low=0.5, high=2.0)}) == {"loss.temperature": 1.0}
    of_integers = own_settings(recipe, {"loss.temperature": TuneKeyConfig(low=1, high=3)})
    assert of_integers == {"loss.temperature": 1}
    assert isinstance(of_integers["loss.temperature"], int)
    half = make_recipe(loss={"temperature": 1.5})
    assert own_settings(half, {"loss.temperature": TuneKeyConfig(low=1, high=3)}) is None
    keys = ("query.features.0.embedding.dim", "training.batch_size")
    assert own_settings(recipe, {keys[0]: TuneKeyConfig(choices=(2, 4), also=(keys[1],))}) is None
    assert own_settings(recipe, {"model.layer_sizes": TuneKeyConfig(choices=((8,), ()))}) == {"model.layer_sizes": ()}


def test_values_reach_every_key_that_shares_them(make_recipe: Any) -> None:
    key, other = "query.features.0.embedding.dim", "candidate.features.0.embedding.dim"
    found = tuned_recipe(make_recipe(), {key: TuneKeyConfig(choices=(2, 8), also=(other,))}, {key: 8})
    assert [entry.embedding.dim for entry in (*found.query.features, *found.candidate.features)] == [8, 8]


@pytest.mark.parametrize(
    ("sections", "key", "value"),
    [
        ({}, "training.optimizer.learning_rate", 0.1),
        ({"training": {"optimizer": {"kind": "adamw"}}}, "training.optimizer.learning_rate", 0.001),
        ({"training": {"optimizer": {"kind": "adamw", "learning_rate": 0.03}}}, "training.optimizer.learning_rate", 0.03),
        ({"loss": {"kind": "gbce", "extra_negatives": 3}}, "loss.calibration", 0.75),
        ({"loss": {"kind": "gbce", "extra_negatives": 3, "calibration": 0.0}}, "loss.calibration", 0.0),
        ({"loss": {"kind": "gbce"}}, "loss.calibration", None),
        ({"loss": {"kind": "in_batch"}}, "loss.calibration", None),
        ({"loss": {"kind": "bsl", "temperature": 0.3}}, "loss.positive_temperature", 0.3),
        ({"loss": {"temperature": 0.3}}, "loss.positive_temperature", None),
        ({"loss": {"kind": "in_batch"}}, "loss.log_q", True),
        ({"loss": {"kind": "bsl"}}, "loss.log_q", True),
        ({"loss": {"kind": "in_batch", "log_q": False}}, "loss.log_q", False),
        ({}, "loss.log_q", None),
        ({"model": {"layer_sizes": [8, 4], "hidden_dropout": 0.2}}, "query.layer_sizes", [8, 4]),
        ({"model": {"layer_sizes": [8, 4], "hidden_dropout": 0.2}}, "candidate.hidden_dropout", 0.2),
        ({"model": {"layer_sizes": [4]}, "query": {"layer_sizes": [8, 4]}}, "query.layer_sizes", [8, 4]),
        ({}, "training.clip_norm", None),
    ],
)
def test_what_holds_where_a_recipe_says_nothing(make_recipe: Any, sections: dict[str, Any], key: str, value: Any) -> None:
    assert own_value(make_recipe(**sections), key) == value


def test_a_calibration_that_is_left_out_is_in_the_space(make_recipe: Any) -> None:
    loss = {"kind": "gbce", "extra_negatives": 3}
    recipe = make_recipe(loss=loss, tune={"loss.calibration": {"low": 0.0, "high": 1.0}})
    assert own_settings(recipe, search_space(recipe)) == {"loss.calibration": 0.75}
    choices = make_recipe(loss=loss, tune={"loss.calibration": {"choices": [0.5, 0.75]}})
    assert own_settings(choices, search_space(choices)) == {"loss.calibration": 0.75}


def test_tables_that_are_propagated_keep_one_width(make_recipe: Any) -> None:
    user, item = ({"kind": "id", "column": name, "embedding": {"dim": 4}} for name in ("user", "item"))
    towers = {"query": {"features": [user], "skip": ["user"]}, "candidate": {"features": [item]}}
    model: dict[str, Any] = {"layer_sizes": [4]}
    apart = make_recipe(**towers, model=model)
    assert "candidate.features.0.embedding.dim" in default_space(apart)
    together = make_recipe(**towers, model={**model, "propagation": {"layers": 1}})
    space = search_space(together)
    assert not any(key.endswith("embedding.dim") for key in space)
    assert check_space(together, space) == {}
    plain = default_space(make_recipe(model={"propagation": {"layers": 1}}))
    assert plain["query.features.0.embedding.dim"].also == ("candidate.features.0.embedding.dim",)


def test_layers_of_a_propagation_can_be_tuned(make_recipe: Any) -> None:
    recipe = make_recipe(model={"propagation": {"layers": 1}}, tune={"model.propagation.layers": {"choices": [0, 1, 3]}})
    space = search_space(recipe)
    assert check_space(recipe, space) == {}
    assert own_settings(recipe, space) == {"model.propagation.layers": 1}
    propagation = tuned_recipe(recipe, space, {"model.propagation.layers": 3}).model.propagation
    assert propagation is not None
    assert propagation.layer_weights == (0.25,) * 4


def test_no_width_is_tuned_that_is_the_candidates(make_recipe: Any) -> None:
    history = {"kind": "history", "items": "candidate"}
    words = {"kind": "id", "column": "user", "embedding": {"dim": 4}}
    space = default_space(make_recipe(query={"features": [history, words]}))
    assert space["query.features.1.embedding.dim"].also == ("candidate.features.0.embedding.dim",)
    assert "query.features.0.embedding.dim" not in space
