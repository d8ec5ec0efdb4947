"""From a recipe to a model's spec: inputs in their order, tables, and which may be shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from twotower.errors import ConfigError
from twotower.runs import Recipe, load_tables
from twotower.runs.model_spec import asked_updates, model_spec
from twotower.runs.phase import fit_phase
from twotower.spec import ModelSpec

MakeRecipe = Callable[..., Recipe]
ITEM = {"kind": "id", "column": "item"}
HISTORY = {"kind": "history"}


def spec_of(recipe: Recipe, interactions: pl.DataFrame) -> ModelSpec:
    tables = load_tables(recipe, interactions=interactions)
    return model_spec(recipe, fit_phase(recipe, tables, tables.split.train).preprocessor)


def shared(history: dict[str, Any], item: dict[str, Any], **of_history: Any) -> dict[str, Any]:
    return {
        "query": {"features": [HISTORY | of_history | {"embedding": history}]},
        "candidate": {"features": [ITEM | {"embedding": item}]},
    }


def test_a_history_can_share_the_table_of_the_items(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    spec = spec_of(make_recipe(**shared({"dim": 4, "table": "items"}, {"dim": 4, "table": "items"})), interactions)
    assert [(table.name, table.vocabulary_size, table.embedding_dim) for table in spec.tables] == [("items", 8, 4)]
    assert spec.query.inputs[0].table == spec.candidate.inputs[0].table == "items"
    apart = spec_of(make_recipe(**shared({"dim": 4}, {"dim": 4})), interactions)
    assert len(apart.tables) == 2


@pytest.mark.parametrize(
    ("history", "item", "of_history", "says"),
    [
        ({"dim": 8}, {"dim": 4}, {}, "rows of 4"),
        ({"dim": 4, "init_scale": 0.1}, {"dim": 4}, {}, "init_scale"),
        ({"dim": 4, "update": "rows"}, {"dim": 4, "update": "dense"}, {}, "dense"),
        ({"dim": 4}, {"dim": 4}, {"min_count": 12}, "different vocabularies"),
    ],
)
def test_tables_that_can_not_be_shared(
    history: dict[str, Any],
    item: dict[str, Any],
    of_history: dict[str, Any],
    says: str,
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
) -> None:
    sections = shared(history | {"table": "items"}, item | {"table": "items"}, **of_history)
    with pytest.raises(ConfigError, match="'items'") as caught:
        spec_of(make_recipe(**sections), interactions)
    assert says in str(caught.value)


def test_features_that_share_a_table_do_as_the_one_that_says_something(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    for history, item, expected in (("rows", "auto", "rows"), ("auto", "rows", "rows"), ("auto", "dense", "dense")):
        table = {"dim": 4, "table": "items"}
        recipe = make_recipe(**shared(table | {"update": history}, table | {"update": item}))
        assert [spec.update for spec in spec_of(recipe, interactions).tables] == [expected]
        tables = load_tables(recipe, interactions=interactions)
        preprocessor = fit_phase(recipe, tables, tables.split.train).preprocessor
        assert asked_updates(recipe, preprocessor) == {"items": expected}


def test_hashed_ids_have_no_vocabulary_to_share(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    embedding = {"dim": 4, "table": "t"}
    features = [{"kind": "id", "column": "user", "hash_buckets": 7, "embedding": embedding}]
    candidate = [ITEM | {"hash_buckets": 7, "embedding": embedding}]
    with pytest.raises(ConfigError, match="different vocabularies"):
        spec_of(make_recipe(query={"features": features}, candidate={"features": candidate}), interactions)


def test_towers_say_what_they_do_otherwise(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    time = {"kind": "timestamp", "column": "time", "num_edges": 5, "standardise": True, "embedding": {"dim": 3}}
    user = {"kind": "id", "column": "user", "embedding": {"dim": 4, "id_dropout": 0.25}}
    recipe = make_recipe(
        query={"features": [time, user], "layer_sizes": [6, 4], "hidden_dropout": 0.5, "skip": ["user"]},
        model={"layer_sizes": [4], "activation": "tanh", "input_dropout": 0.1},
    )
    spec = spec_of(recipe, interactions)
    assert [(i.column, i.width, i.table) for i in spec.query.inputs] == [
        ("time.bucket", 3, "query/time.bucket"),
        ("time.standardised", 1, None),
        ("user", 4, "query/user"),
    ]
    assert (spec.query.layer_sizes, spec.candidate.layer_sizes) == ((6, 4), (4,))
    assert (spec.query.hidden_dropout, spec.candidate.hidden_dropout) == (0.5, 0.0)
    assert (spec.query.input_dropout, spec.candidate.input_dropout) == (0.1, 0.1)
    assert (spec.query.activation, spec.query.skip, spec.candidate.skip) == ("tanh", ("user",), ())
    assert spec.query.inputs[2].id_dropout == 0.25


def test_the_row_of_unknown_values_is_trained_unless_a_recipe_says_no(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    time = {"kind": "timestamp", "column": "time", "num_edges": 5, "embedding": {"dim": 3}}
    user = {"kind": "id", "column": "user", "embedding": {"dim": 4}}
    history = {"kind": "history", "embedding": {"dim": 4, "id_dropout": 0}}
    spec = spec_of(make_recipe(query={"features": [time, user, history]}), interactions)
    assert [entry.id_dropout for entry in spec.query.inputs] == [0.0, 0.01, 0.0]


def test_no_id_is_dropped_where_there_is_no_row_to_drop_it_to(make_recipe: MakeRecipe) -> None:
    time = {"kind": "timestamp", "column": "time", "num_edges": 5, "embedding": {"dim": 3, "id_dropout": 0.1}}
    with pytest.raises(ConfigError, match="'timestamp' has no row of unknown values"):
        make_recipe(query={"features": [time]})
