"""From a recipe's tasks to outcomes and heads, and whole runs with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.data import Examples
from twotower.errors import ConfigError, DataError
from twotower.models import TwoTower, build
from twotower.recommender import Recommender
from twotower.runs import Recipe, load_tables, reevaluate, run
from twotower.runs.fit_model import build_model
from twotower.runs.phase import fit_phase
from twotower.runs.tasks import head_specs, outcomes
from twotower.spec import ModelSpec, OrdinalHeadSpec, RegressionHeadSpec

MakeRecipe = Callable[..., Recipe]
STARS = {"name": "stars", "column": "rating"}
LEVEL = {"name": "level", "column": "rating", "kind": "ordinal"}


def train_of(recipe: Recipe, interactions: pl.DataFrame) -> Examples:
    tables = load_tables(recipe, interactions=interactions)
    return fit_phase(recipe, tables, tables.split.train).train


def train_ratings(interactions: pl.DataFrame) -> list[float]:
    return [float(x) for x in interactions.sort("time").head(70)["rating"].to_list() if x is not None]


def some_unknown(interactions: pl.DataFrame) -> pl.DataFrame:
    return interactions.with_columns(pl.when(pl.col("time") // 60 % 4 != 0).then(pl.col("rating")).alias("rating"))


def test_moments_and_levels_are_of_the_train_rows_that_have_an_outcome(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    later = pl.col("time") >= interactions.sort("time")["time"][70]
    frame = some_unknown(interactions).with_columns(
        pl.when(later).then(pl.lit(99)).when(pl.col("rating") == 2).then(pl.lit(3)).otherwise(pl.col("rating")).alias("rating")
    )
    values = train_ratings(frame)
    assert len(values) < 70
    recipe = make_recipe(tasks=[{**STARS, "inputs": ["product"], "layer_sizes": [3]}, LEVEL], model={"activation": "tanh"})
    regression, ordinal = head_specs(recipe, train_of(recipe, frame))
    assert isinstance(regression, RegressionHeadSpec)
    mean = sum(values) / len(values)
    assert regression.mean == pytest.approx(mean)
    assert regression.scale == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in values) / len(values)))
    assert (regression.low, regression.high) == (1.0, 5.0)
    assert (regression.name, regression.inputs, regression.layer_sizes, regression.activation) == (
        "stars",
        ("product",),
        (3,),
        "tanh",
    )
    assert isinstance(ordinal, OrdinalHeadSpec)
    assert ordinal.levels == (1.0, 3.0, 4.0, 5.0)
    assert ordinal.shares == pytest.approx([values.count(level) / len(values) for level in ordinal.levels])


def test_outcomes_are_numbers_or_unknown(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    frame = some_unknown(interactions)
    recipe = make_recipe(tasks=[STARS, LEVEL])
    found = outcomes(recipe, load_tables(recipe, interactions=frame))
    expected = [float("nan") if x is None else float(x) for x in frame["rating"].to_list()]
    assert list(found) == ["rating"]
    np.testing.assert_array_equal(found["rating"].numpy(), expected)
    nans = frame.with_columns(pl.col("rating").cast(pl.Float64).fill_null(float("nan")))
    np.testing.assert_array_equal(outcomes(recipe, load_tables(recipe, interactions=nans))["rating"].numpy(), expected)
    yes = frame.with_columns(pl.col("rating") > 2)
    assert set(outcomes(recipe, load_tables(recipe, interactions=yes))["rating"].nan_to_num(9).tolist()) == {0.0, 1.0, 9.0}


def test_columns_that_can_not_be_predicted_are_refused(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    def fitted(frame: pl.DataFrame, *tasks: dict[str, Any]) -> None:
        recipe = make_recipe(tasks=list(tasks))
        head_specs(recipe, train_of(recipe, frame))

    with pytest.raises(ConfigError, match=r"tasks\.0\.column: no column 'ratign' in the interactions; did you mean 'rating'\?"):
        fitted(interactions, {**STARS, "column": "ratign"})
    with pytest.raises(DataError, match=r"task column 'rating' must hold numbers; came String"):
        fitted(interactions.with_columns(pl.col("rating").cast(pl.String) + " stars"), STARS)
    infinite = pl.when(pl.int_range(100) == 3).then(math.inf).otherwise(pl.col("rating")).alias("rating")
    with pytest.raises(DataError, match=r"1 rows hold an infinity \(rows 3\)"):
        fitted(interactions.with_columns(infinite), STARS)
    with pytest.raises(
        DataError, match=r"'stars': column 'rating' must have two values or more in the train rows; came only 4"
    ):
        fitted(interactions.with_columns(rating=pl.lit(4)), STARS)
    with pytest.raises(DataError, match=r"came none.*task 'level'"):
        fitted(interactions.with_columns(rating=pl.lit(None, dtype=pl.Int64)), STARS, LEVEL)
    # 200 rows, of which the first 170 in time train: 105 distinct values in them
    twice = pl.concat([interactions, interactions.with_columns(pl.col("time") + 10_000)]).sort("time")
    with pytest.raises(DataError, match=r"at most 100 levels; the train rows have 105 values: cut them into levels with edges"):
        fitted(twice.with_columns(rating=pl.min_horizontal(pl.int_range(200), 104) / 8), LEVEL)


def test_towers_start_as_without_tasks(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    def weights(recipe: Recipe) -> dict[str, torch.Tensor]:
        tables = load_tables(recipe, interactions=interactions)
        return dict(build_model(recipe, fit_phase(recipe, tables, tables.split.train)).model.named_parameters())

    plain, headed = weights(make_recipe()), weights(make_recipe(tasks=[STARS]))
    assert all(torch.equal(plain[name], headed[name]) for name in plain)
    assert any(name.startswith("heads.") for name in headed)


def test_where_retrieval_is_not_learned_only_the_rows_own_items_are_encoded(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    sections: dict[str, Any] = {"tasks": [STARS], "training": {"early_stopping": False}}
    for weight, everything in ((1.0, True), (0.0, False)):
        recipe = make_recipe(**sections, loss={"kind": "full", "weight": weight})
        tables = load_tables(recipe, interactions=interactions)
        batch = build_model(recipe, fit_phase(recipe, tables, tables.split.train)).batches.batch(0, 0)
        assert (batch.candidate_rows is None) == everything


def test_a_run_with_a_task_is_logged_judged_and_loaded(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    frame = some_unknown(interactions)
    recipe = make_recipe(tasks=[STARS, LEVEL], evaluation={"draws": 20}, training={"early_stopping": {"metric": "stars rmse"}})
    summary = run(recipe, tmp_path / "run", interactions=frame).summary
    assert list(summary["outcomes"]) == ["stars", "level"]
    assert {"stars rmse", "stars mae", "level rmse", "level mae"} <= set(summary["selection"]["validation"])
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert list(record["losses"]) == ["retrieval", "stars", "level"]
    assert record["loss"] == pytest.approx(sum(record["losses"].values()))
    assert reevaluate(tmp_path / "run", interactions=frame)["outcomes"] == summary["outcomes"]
    model = Recommender.load(tmp_path / "run").model
    assert model.head_names == ["stars", "level"]
    assert [head.kind for head in model.spec.heads] == ["regression", "ordinal"]


def test_without_tasks_nothing_is_said_of_them(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    summary = run(make_recipe(), tmp_path / "run", interactions=interactions).summary
    assert "outcomes" not in summary
    assert "losses" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    spec = json.loads((tmp_path / "run" / "bundle" / "model.json").read_text())["spec"]
    assert "heads" not in spec


def test_rows_that_are_no_positives_teach_a_task_nothing_and_the_run_says_so(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    columns = {"columns": {"positives": "rating >= 3"}}
    recipe = make_recipe(tasks=[STARS], data=columns)
    (spec,) = head_specs(recipe, train_of(recipe, interactions))
    assert isinstance(spec, RegressionHeadSpec)
    assert spec.low == 3.0
    few = int((interactions["rating"] < 3).sum())
    notes = run(recipe, tmp_path / "run", interactions=interactions).summary["notes"]
    assert [note for note in notes if note.startswith("tasks learn from positives") and f": {few} rows" in note]
    assert run(make_recipe(data=columns), tmp_path / "plain", interactions=interactions).summary["notes"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": [{**STARS, "weight": 5.0}]},
        {"tasks": [{**STARS, "kind": "ordinal"}]},
        {"tasks": [{**STARS, "kind": "ordinal", "edges": [3]}]},
        {"tasks": [{**STARS, "inputs": ["product"]}]},
        {"tasks": [{**STARS, "layer_sizes": []}]},
        {"tasks": [STARS], "loss": {"weight": 0.2}},
    ],
)
def test_every_key_changes_what_is_learned(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, changes: dict[str, Any]
) -> None:
    sections: dict[str, Any] = {"training": {"early_stopping": False}}
    one = run(make_recipe(tasks=[STARS], **sections), tmp_path / "one", interactions=interactions).summary["outcomes"]
    other = run(make_recipe(**{**sections, **changes}), tmp_path / "other", interactions=interactions).summary["outcomes"]
    assert one["stars"]["model"] != other["stars"]["model"]
    in_levels = "edges" in changes.get("tasks", [{}])[0]
    assert (one["stars"]["damped_means"] == other["stars"]["damped_means"]) != in_levels


def without_heads(spec: ModelSpec, *, seed: int) -> TwoTower:
    model = build(spec, seed=seed)
    return TwoTower(model.spec, model.embeddings, model.query, model.candidate)


def with_heads(spec: ModelSpec, *, seed: int) -> TwoTower:
    model = build(spec, seed=seed)
    heads = [model.head(name) for name in model.head_names]
    return TwoTower(model.spec, model.embeddings, model.query, model.candidate, heads)


def test_a_builder_of_ones_own_hands_the_heads_on(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(tasks=[STARS])
    with pytest.raises(ConfigError, match=r"without_heads gives a model without a head for 'stars'; hand them on, TwoTower\("):
        run(recipe, tmp_path / "run", interactions=interactions, builder=without_heads)
    assert not (tmp_path / "run" / "checkpoints").exists()
    summary = run(recipe, tmp_path / "run", interactions=interactions, builder=with_heads).summary
    assert summary["outcomes"]["stars"]["rows"] > 0


def test_where_retrieval_is_not_learned_the_figures_say_so(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    for weight in (0.0, 1.0):
        recipe = make_recipe(tasks=[STARS], loss={"weight": weight}, training={"early_stopping": False})
        notes = run(recipe, tmp_path / f"{weight}", interactions=interactions).summary["notes"]
        assert any("retrieval was not learned" in note for note in notes) == (weight == 0)


EDGED = {"name": "long", "column": "seconds", "kind": "ordinal", "edges": [1, 60.5, 600]}


def test_edges_turn_numbers_into_levels(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    seconds = [0.0, 0.99, 1.0, 60.0, 60.5, 599.0, 600.0, 9e9, None, float("nan")]
    levels = [0, 0, 1, 1, 2, 2, 3, 3]
    frame = interactions.sort("time").with_columns(seconds=pl.Series(seconds * 10))
    plain = {"name": "seconds", "column": "seconds"}
    recipe = make_recipe(tasks=[EDGED, plain, {**EDGED, "name": "again"}])
    cut, whole = outcomes(recipe, load_tables(recipe, interactions=frame)).values()  # one by its edges, and the column itself
    assert [None if math.isnan(x) else x for x in cut.tolist()] == [*levels, None, None] * 10
    assert whole.nan_to_num(-1).tolist() == [-1 if x is None or math.isnan(x) else x for x in seconds] * 10
    ordinal, regression, again = head_specs(recipe, train_of(recipe, frame))
    assert isinstance(ordinal, OrdinalHeadSpec)
    assert isinstance(regression, RegressionHeadSpec)
    assert isinstance(again, OrdinalHeadSpec)
    assert (ordinal.levels, again.levels) == ((0.0, 1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0))
    assert ordinal.shares == pytest.approx([0.25] * 4)
    assert regression.high == 9e9
    low = make_recipe(tasks=[{**EDGED, "edges": [1e10]}])
    with pytest.raises(
        DataError, match=r"must have two levels by the edges \[10000000000.0\] or more in the train rows; came only 0"
    ):
        head_specs(low, train_of(low, frame))


def test_a_task_of_seconds_in_levels_learns_who_stays(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 12, size=900), rng.integers(0, 8, size=900)
    stays = (users + items) % 2 == 0
    seconds = np.where(stays, rng.lognormal(7, 1, size=900), rng.lognormal(1, 1, size=900))
    frame = pl.DataFrame({"user": users, "item": items, "time": np.arange(900), "seconds": seconds})
    recipe = make_recipe(
        tasks=[{**EDGED, "edges": [10, 100]}],
        split={"test": 150, "validation": 50},
        training={"epochs": 12, "early_stopping": False, "optimizer": {"kind": "adamw", "learning_rate": 0.02}},
    )
    place = tmp_path / "run"
    judged = run(recipe, place, interactions=frame).summary["outcomes"]["long"]
    assert judged["mean"]["rmse"] > 0.7  # levels 0 and 1 against 2, in equal halves
    assert judged["model"]["rmse"] < 0.5 * judged["mean"]["rmse"]
    assert reevaluate(place, interactions=frame)["outcomes"]["long"] == judged
    found = Recommender.load(place).predict([0, 0], [0, 1], task="long").frame["prediction"].to_list()
    assert 1.5 < found[0] <= 2  # the expected level
    assert 0 <= found[1] < 1
