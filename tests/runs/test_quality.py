"""Planted worlds with known answers: a run finds them, and popularity does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from twotower.datasets import checkerboard, tastes, time_drift
from twotower.recommender import Recommender
from twotower.runs import Recipe, run

MakeRecipe = Callable[..., Recipe]
COLUMNS = {"columns": {"user": "user_id", "item": "item_id", "time": "timestamp"}}
ADAGRAD = {"kind": "adagrad", "learning_rate": 0.5}
USER: dict[str, Any] = {"kind": "id", "column": "user_id", "embedding": {"dim": 8}}
ITEM = {"kind": "id", "column": "item_id", "embedding": {"dim": 8}}


def given(make_recipe: MakeRecipe, query: list[dict[str, Any]], ks: list[int], **more: Any) -> Recipe:
    recipe = make_recipe(
        data=COLUMNS,
        query={"features": query},
        candidate={"features": [ITEM]},
        evaluation={"ks": ks, "per_user": True},
        **{"training": {"epochs": 10, "batch_size": 64, "optimizer": ADAGRAD, "early_stopping": False}} | more,
    )
    return Recipe.model_validate(recipe.model_dump(mode="json") | {"split": {"kind": "given", "column": "split"}})


def test_checkerboard_every_liked_item_is_found(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    world = checkerboard(num_users=60, num_items=40, held_out=5)
    summary = run(
        given(make_recipe, [USER], [5], loss={"mask_known_positives": True}), tmp_path / "run", interactions=world
    ).summary
    found = {name: summary["details"][name]["per_user"]["seen_removed"]["recall@5"] for name in ("model", "popularity")}
    assert found["model"] > 0.95
    assert found["popularity"] < 0.3


def test_time_drift_needs_the_time(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    world = time_drift(num_users=30, num_items=20, num_periods=4, rows_per_user=20)
    time: dict[str, Any] = {"kind": "timestamp", "column": "timestamp", "num_edges": 40, "embedding": {"dim": 8}}
    found = {}
    for name, features in (("with", [USER, time]), ("without", [USER])):
        recipe = given(make_recipe, features, [5], model={"layer_sizes": [8]})
        found[name] = run(recipe, tmp_path / name, interactions=world).summary["metrics"]["test"]["seen_included"]["recall@5"]
    assert found["with"] > 0.9
    assert found["without"] < 0.4


def test_a_user_never_seen_is_served_by_an_attribute(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    world = tastes(num_users=60, num_items=30, rows_per_user=10)
    group = {"kind": "category", "column": "group", "embedding": {"dim": 8}}
    recipe = make_recipe(
        data=COLUMNS,
        query={"features": [group]},
        candidate={"features": [ITEM]},
        training={"epochs": 15, "optimizer": ADAGRAD, "early_stopping": False},
    )
    run(recipe, tmp_path / "run", interactions=world["interactions"], users=world["users"])
    recommender = Recommender.load(tmp_path / "run")
    frame = recommender.recommend(features=[{"group": "a"}, {"group": "b"}], k=10).frame
    liked = {"a": set(range(15)), "b": set(range(15, 30))}
    for query, name in enumerate(("a", "b")):
        assert set(frame.filter(pl.col("query") == query)["item_id"]) <= liked[name]
    popular = world["interactions"]["item_id"].value_counts(sort=True).head(10)["item_id"]
    assert len(set(popular) & liked["b"]) < 3
