"""Errors of predicted outcomes: which rows are judged, by what, beside what."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
import torch

from twotower.runs import Recipe, load_tables
from twotower.runs.fit_model import build_model
from twotower.runs.judge_outcomes import judge_outcomes, outcome_errors
from twotower.runs.phase import Phase, fit_phase

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")
HISTORY = {"kind": "history", "embedding": {"dim": 4}}
USER = {"kind": "id", "column": "user", "embedding": {"dim": 4, "init_scale": 2.0}}


def judged(recipe: Recipe, frame: pl.DataFrame, part: str = "test") -> tuple[dict[str, Any], Phase, Any]:
    tables = load_tables(recipe, interactions=frame)
    phase = fit_phase(recipe, tables, tables.split.train)
    model = build_model(recipe, phase).model.eval()
    return judge_outcomes(recipe, phase, model, getattr(tables.split, part), device=CPU), phase, model


def recipe_of(make_recipe: MakeRecipe, *, draws: int = 0, **task: Any) -> Recipe:
    return make_recipe(
        tasks=[{"name": "stars", "column": "rating", **task}],
        query={"features": [USER, HISTORY]},
        model={"layer_sizes": [4]},
        evaluation={"draws": draws},
    )


def root_mean_square(values: list[float]) -> float:
    return math.sqrt(sum(x * x for x in values) / len(values))


def test_all_predictors_are_judged_on_the_rows_that_can_be(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    """Of the last 20 rows in time two have item 7, which train never saw, and some have no rating."""
    frame = interactions.with_columns(pl.when(pl.col("time") // 60 % 3 != 0).then(pl.col("rating")).alias("rating"))
    recipe = recipe_of(make_recipe)
    found, phase, model = judged(recipe, frame)
    test = frame.sort("time").tail(20)
    kept = [i for i, row in enumerate(test.to_dicts()) if row["rating"] is not None and row["item"] != 7]
    assert (found["stars"]["rows"], found["stars"]["not_judged"]) == (len(kept), 20 - len(kept))
    assert 0 < len(kept) < 18
    ratings = [float(test["rating"][i]) for i in kept]
    train = [float(x) for x in frame.sort("time").head(70)["rating"].to_list() if x is not None]
    mean = sum(train) / len(train)
    assert found["stars"]["mean"]["rmse"] == pytest.approx(root_mean_square([x - mean for x in ratings]))
    assert found["stars"]["mean"]["mae"] == pytest.approx(sum(abs(x - mean) for x in ratings) / len(ratings))
    # the model reads each row's own history, grown to just before it
    examples = phase.examples(phase.tables.split.test, grow=True)
    predicted = []
    with torch.no_grad():
        items = model.encode_candidates(phase.items)
        for i in kept:
            query = model.encode_queries(examples.queries(torch.tensor([i]), training=False))
            own = items[int(examples.item_rows[i])][None]
            predicted.append(float(model.head("stars").predict(model.head("stars")(query, own))))
    off = [p - r for p, r in zip(predicted, ratings, strict=True)]
    assert found["stars"]["model"]["rmse"] == pytest.approx(root_mean_square(off), rel=1e-5)
    assert outcome_errors(recipe.tasks[0], model, phase, examples, device=CPU) == {
        name: found["stars"]["model"][name] for name in ("rmse", "mae")
    }
    assert found["stars"]["model"]["intervals"] == {}
    assert found["stars"]["differences"] == {}


def test_warm_and_cold_users_apart(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    """User j comes at the end only, and in two rows."""
    recipe = recipe_of(make_recipe)
    found, phase, _ = judged(recipe, interactions)
    judgement = found["stars"]
    groups = judgement["groups"]
    assert (groups["warm"]["rows"], groups["cold"]["rows"]) == (judgement["rows"] - 2, 2)
    for name in ("model", "mean", "damped_means"):
        squares = sum(groups[group]["rows"] * groups[group][name]["rmse"] ** 2 for group in ("warm", "cold"))
        assert math.sqrt(squares / judgement["rows"]) == pytest.approx(judgement[name]["rmse"])
    late = interactions.filter(pl.col("user") == "u9")["rating"].to_list()
    mean = phase.train.outcomes["rating"].mean().item()
    assert groups["cold"]["mean"]["mae"] == pytest.approx(sum(abs(x - mean) for x in late) / 2)
    without = judged(recipe, interactions.filter(pl.col("user") != "u9"))[0]
    assert without["stars"]["groups"] == {}


def test_means_are_of_the_rows_that_were_trained_on(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = recipe_of(make_recipe)
    one = judged(recipe, interactions)[0]["stars"]
    later = interactions.sort("time")["time"][70]
    changed = interactions.with_columns(
        pl.when((pl.col("time") >= later) & (pl.col("time") < later + 600)).then(1).otherwise(pl.col("rating")).alias("rating")
    )
    other = judged(recipe, changed)[0]["stars"]
    assert (one["mean"], one["damped_means"]) == (other["mean"], other["damped_means"])


def test_damped_means_know_what_users_and_items_are_like(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    frame = interactions.with_columns(rating=1.0 + pl.col("item") % 5)
    found = judged(recipe_of(make_recipe, draws=50), frame)[0]["stars"]
    assert found["damped_means"]["rmse"] < 0.5 * found["mean"]["rmse"]
    low, high = found["damped_means"]["intervals"]["rmse"]
    assert low < found["damped_means"]["rmse"] < high
    differences = found["differences"]
    for name in ("mean", "damped_means"):
        expected = found["model"]["rmse"] ** 2 - found[name]["rmse"] ** 2
        assert differences[name]["mean_squared_error"] == pytest.approx(expected)
        assert differences[name]["interval"][0] <= expected <= differences[name]["interval"][1]
        assert 0 < differences[name]["p_value"] <= 1
    assert differences["damped_means"]["interval"][0] > 0  # a model with fresh weights is worse


def test_damped_means_take_users_apart(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    of_user = pl.col("user").str.slice(1).cast(pl.Int64)
    frame = interactions.filter(pl.col("user") != "u9").with_columns(rating=1.0 + of_user % 5)
    found = judged(recipe_of(make_recipe), frame)[0]["stars"]
    assert found["damped_means"]["rmse"] < 0.6 * found["mean"]["rmse"]


def test_without_rows_to_judge_there_are_only_counts(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    later = interactions.sort("time")["time"][70]
    frame = interactions.with_columns(pl.when(pl.col("time") < later).then(pl.col("rating")).alias("rating"))
    recipe = recipe_of(make_recipe)
    found, phase, model = judged(recipe, frame)
    assert found == {"stars": {"rows": 0, "not_judged": 20}}
    examples = phase.examples(phase.tables.split.test, grow=True)
    assert outcome_errors(recipe.tasks[0], model, phase, examples, device=CPU) == {}


def test_a_recipe_without_tasks_is_judged_on_none(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    assert judged(make_recipe(), interactions)[0] == {}
