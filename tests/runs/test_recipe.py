"""What a recipe may not ask for, and choices of it that reach the tables and the validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.errors import ConfigError, DataError
from twotower.runs import Recipe, load_tables, run
from twotower.runs.build_loss import loss_kind
from twotower.runs.fit_model import build_model
from twotower.runs.phase import fit_phase
from twotower.runs.recipe import LossConfig

MakeRecipe = Callable[..., Recipe]
USER = {"kind": "id", "column": "user"}
PLACE: dict[str, Any] = {"kind": "geo", "longitude": "lon", "latitude": "lat", "name": "place"}


@pytest.mark.parametrize(
    ("columns", "feature", "role"),
    [
        ({"weight": "watched"}, {"kind": "number", "column": "watched"}, "weight"),
        ({"positives": "rating >= 4"}, {"kind": "category", "column": "rating"}, "positives"),
        ({"positives": "kind == 'buy' and rating >= 4"}, {"kind": "buckets", "column": "rating", "num_edges": 3}, "positives"),
    ],
)
def test_an_outcome_of_the_row_is_no_input_of_it(
    columns: dict[str, Any], feature: dict[str, Any], role: str, make_recipe: MakeRecipe
) -> None:
    with pytest.raises(ConfigError, match=rf"query\.features\.1: column '{feature['column']}' is an outcome .*columns\.{role}"):
        make_recipe(data={"columns": columns}, query={"features": [USER, feature]})
    assert len(make_recipe(query={"features": [USER, feature]}).query.features) == 2


def test_a_user_that_is_there_twice(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    users = pl.DataFrame({"user": ["u1", "u2", "u1"], "age": [20, 30, 40]})
    ages = {}
    for rule in ("first", "last"):
        found = load_tables(make_recipe(data={"duplicate_users": rule}), interactions=interactions, users=users).users
        assert found is not None
        ages[rule] = dict(found.frame.select("user", "age").iter_rows())
    assert ages == {"first": {"u1": 20, "u2": 30}, "last": {"u1": 40, "u2": 30}}
    with pytest.raises(DataError, match="'u1'"):
        load_tables(make_recipe(), interactions=interactions, users=users)


def test_validation_rows_can_be_limited(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    hits = {}
    for name, most in (("all", None), ("more", 99), ("one", 1), ("one again", 1)):
        recipe = make_recipe(evaluation={"max_validation_rows": most})
        summary = run(recipe, tmp_path / name, interactions=interactions).summary
        assert summary["rows"]["validation"] == 10
        hits[name] = summary["selection"]["validation"]
    assert hits["all"] == hits["more"]
    assert hits["one"] == hits["one again"]
    assert hits["one"] != hits["all"]
    assert hits["one"]["recall@5"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"query": {"features": [USER | {"embedding": {"pooling": "sum"}}]}},
            r"embedding\.pooling: .*'id' has one value a row",
        ),
        (
            {"query": {"features": [USER | {"embedding": {"value_dropout": 0.5}}]}},
            r"embedding\.value_dropout: .*one value a row",
        ),
        (
            {"query": {"features": [PLACE | {"embedding": {"table": "places"}}]}},
            r"embedding\.table: a geo feature has two tables, one for each grid",
        ),
        ({"loss": {"kind": "full", "mask_accidental_hits": False}}, "no meaning with the full softmax"),
        ({"training": {"schedule": {"final_fraction": 0.1}}}, "final_fraction needs decay"),
        ({"training": {"optimizer": {"kind": "adagrad", "betas": [0.8, 0.9]}}}, r"betas are AdamW's; adagrad has none"),
    ],
)
def test_a_choice_that_would_change_nothing_is_refused(sections: dict[str, Any], message: str, make_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(**sections)


def test_what_only_the_in_batch_softmax_has_decides_for_it() -> None:
    found = [loss_kind(LossConfig(mask_accidental_hits=mask), catalogue_size=5, batch_size=9) for mask in (True, False)]
    assert found == ["full", "in_batch"]


def test_many_values_are_pooled_by_their_mean_unless_a_recipe_says_otherwise(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    features = [{"kind": "history", "embedding": {"dim": 4, **chosen}} for chosen in ({}, {"pooling": "sum"})]
    recipe = make_recipe(
        query={"features": [features[0], features[1] | {"name": "summed"}], "layer_sizes": [4]}, model={"layer_sizes": [4]}
    )
    tables = load_tables(recipe, interactions=interactions)
    model = build_model(recipe, fit_phase(recipe, tables, tables.split.train)).model
    assert [entry.pooling for entry in model.spec.query.inputs] == ["mean", "sum"]
