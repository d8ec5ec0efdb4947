"""Baselines as a recipe asks for them: planted worlds, settings chosen on validation rows, the rows that a model would see."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.baselines import PopularityScorer
from twotower.datasets import checkerboard, tastes, time_drift
from twotower.errors import ConfigError
from twotower.metrics import gini
from twotower.runs import Recipe, fit_baselines, judge_baselines, load_tables, run
from twotower.runs.phase import fit_phase

MakeRecipe = Callable[..., Recipe]
COLUMNS = {"columns": {"user": "user_id", "item": "item_id", "time": "timestamp"}}
FEATURES: dict[str, Any] = {
    "query": {"features": [{"kind": "id", "column": "user_id"}]},
    "candidate": {"features": [{"kind": "id", "column": "item_id"}]},
}
NAMES = ["random", "popularity", "recent_popularity", "segment_popularity", "item_neighbours", "ease", "ials"]
SMALL: dict[str, Any] = {
    "recent_popularity": {"half_life_fraction": [0.05, 0.5]},
    "item_neighbours": {"neighbours": [20], "shrinkage": [0.0]},
    "ease": {"regularisation": [10.0]},
    "ials": {"factors": [2], "regularisation": [0.1], "alpha": [5.0], "iterations": [10]},
}


def of_world(make_recipe: MakeRecipe, split: dict[str, Any], **more: Any) -> Recipe:
    sections = {"data": COLUMNS, **FEATURES, "baselines": SMALL, "training": {"early_stopping": False}} | more
    recipe = make_recipe(**sections)
    return Recipe.model_validate(recipe.model_dump(mode="json") | {"split": split})


def recalls(
    recipe: Recipe, world: pl.DataFrame, names: Sequence[str], key: str, users: pl.DataFrame | None = None
) -> dict[str, float]:
    found = judge_baselines(recipe, load_tables(recipe, interactions=world, users=users), names).figures["baselines"]
    return {name: found[name]["seen_removed"][key] for name in names}


def test_checkerboard_is_found_by_histories_and_not_by_popularity(make_recipe: MakeRecipe) -> None:
    pytest.importorskip("implicit")
    world = checkerboard(num_users=60, num_items=40, held_out=5)
    found = recalls(
        of_world(make_recipe, {"kind": "given", "column": "split"}),
        world,
        ["popularity", "item_neighbours", "ease", "ials"],
        "recall@5",
    )
    assert found["popularity"] < 0.3
    assert min(found[name] for name in ("item_neighbours", "ease", "ials")) > 0.95


def test_time_drift_is_followed_by_recent_popularity(make_recipe: MakeRecipe) -> None:
    world = time_drift(num_users=60, num_items=40, num_periods=4, rows_per_user=30).sample(fraction=1, shuffle=True, seed=0)
    recipe = of_world(make_recipe, {"kind": "time", "test": 100, "validation": 100}, evaluation={"ks": [1, 10]})
    found = recalls(recipe, world, ["popularity", "recent_popularity"], "recall@10")
    assert found["recent_popularity"] > 0.9
    assert found["popularity"] < 0.5


def test_tastes_are_told_by_the_segment(make_recipe: MakeRecipe) -> None:
    world = tastes(num_users=90, num_items=30, rows_per_user=10)
    recipe = of_world(
        make_recipe,
        {"kind": "time", "test": 90, "validation": 90},
        query={"features": [{"kind": "category", "column": "group"}]},
        evaluation={"ks": [1, 15]},
    )
    found = recalls(recipe, world["interactions"], ["popularity", "segment_popularity"], "recall@15", world["users"])
    assert found["segment_popularity"] == 1.0
    assert found["popularity"] < 0.9


@pytest.mark.parametrize("refit", ["none", "train"])
def test_the_rows_that_a_model_would_be_fitted_on(make_recipe: MakeRecipe, interactions: pl.DataFrame, refit: str) -> None:
    recipe = make_recipe(refit=refit, baselines={"ease": {"regularisation": [3.0]}})
    tables = load_tables(recipe, interactions=interactions)
    split = tables.split
    rows = split.train if refit == "none" else np.concatenate([split.train, split.validation])
    phase = fit_phase(recipe, tables, rows)
    examples = phase.examples(split.test, grow=True)
    fits = fit_baselines(recipe, tables, ["popularity", "ease"])
    make = fits["popularity"].scorer
    assert make is not None
    ((_, found),) = make(examples).tiles(torch.tensor([0]), 100)
    assert found[0].tolist() == phase.item_counts.tolist()
    make = fits["ease"].scorer
    assert make is not None
    seen = torch.arange(len(split.test))
    ((_, scores_BN),) = make(examples).tiles(seen, 100)
    matrix_UN = np.zeros((len(tables.user_ids), len(phase.catalogue)))
    inside = rows[phase.item_rows[rows] >= 0]
    matrix_UN[tables.user_rows[inside], phase.item_rows[inside]] = 1
    inverse = np.linalg.inv(matrix_UN.T @ matrix_UN + 3.0 * np.eye(len(phase.catalogue)))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    for query in range(len(split.test)):
        history = examples.seen(torch.tensor([query])).values.tolist()
        wanted = weights[history].sum(0) if history else phase.item_counts
        assert scores_BN[query].numpy() == pytest.approx(wanted, abs=1e-6)


def test_settings_are_those_that_are_best_on_validation_rows(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    grid = [5.0, 0.5, 1000.0]
    by_rank = {"early_stopping": {"metric": "mrr"}}
    recipe = make_recipe(refit="train", training=by_rank, baselines={"ease": {"regularisation": grid}})
    tables = load_tables(recipe, interactions=interactions)
    said: list[str] = []
    found = fit_baselines(recipe, tables, ["ease"], said.append)["ease"]
    alone = []
    for value in grid:
        # the validation rows as a test: fitted on train rows, judged there
        single = make_recipe(baselines={"ease": {"regularisation": [value]}})
        moved = load_tables(single, interactions=interactions)
        object.__setattr__(moved.split, "test", tables.split.validation)
        alone.append(judge_baselines(single, moved, ["ease"]).figures["baselines"]["ease"]["seen_removed"]["mrr"])
    assert len(set(alone)) > 1
    assert found.settings == {"regularisation": grid[int(np.argmax(alone))]}
    assert found.validation == max(alone)
    assert [f"mrr removed {value:.4f}" in sentence for value, sentence in zip(alone, said, strict=True)] == [True] * 3
    assert found.seconds > 0


def test_settings_can_be_chosen_by_one_list_per_user(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    training = {"early_stopping": {"metric": "recall@1 per user removed"}}
    recipe = make_recipe(training=training, baselines={"ease": {"regularisation": [5.0, 1000.0]}})
    tables = load_tables(recipe, interactions=interactions)
    found = fit_baselines(recipe, tables, ["ease"])["ease"]
    alone = []
    for value in (5.0, 1000.0):
        single = make_recipe(baselines={"ease": {"regularisation": [value]}}, evaluation={"per_user": True})
        moved = load_tables(single, interactions=interactions)
        object.__setattr__(moved.split, "test", tables.split.validation)
        details = judge_baselines(single, moved, ["ease"]).figures["details"]["ease"]
        alone.append(details["per_user"]["seen_removed"]["recall@1"])
    assert found.validation == max(alone)


def test_seen_changes_what_settings_are_chosen_by(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    found = {}
    for seen in ("removed", "included"):
        recipe = make_recipe(baselines={"seen": seen, "ease": {"regularisation": [5.0, 1000.0]}})
        result = judge_baselines(recipe, load_tables(recipe, interactions=interactions), ["ease"]).figures
        found[seen] = result["fits"]["ease"]["validation"]
        assert result["metric"] == ("recall@5 removed" if seen == "removed" else "recall@5")
    assert found["removed"] != found["included"]


@pytest.mark.parametrize(
    ("training", "metric"),
    [
        ({"early_stopping": {"metric": "mrr"}}, "mrr removed"),
        ({"early_stopping": {"metric": "recall@1 removed"}}, "recall@1 removed"),
        ({"early_stopping": {"metric": "ndcg@5 per user"}}, "ndcg@5 per user removed"),
        ({"early_stopping": False}, "recall@5 removed"),
        ({"early_stopping": {"metric": "stars rmse"}}, "recall@5 removed"),
    ],
)
def test_the_metric_is_the_one_that_stops_training(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, training: dict[str, Any], metric: str
) -> None:
    recipe = make_recipe(training=training, tasks=[{"name": "stars", "column": "rating"}])
    assert judge_baselines(recipe, load_tables(recipe, interactions=interactions), ["random"]).figures["metric"] == metric


def test_without_validation_rows_the_first_settings_are_taken(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(split={"validation": 0}, training={"early_stopping": False}, baselines=SMALL)
    found = fit_baselines(recipe, load_tables(recipe, interactions=interactions), ["recent_popularity"])["recent_popularity"]
    assert (found.settings, found.validation) == ({"half_life_fraction": 0.05}, None)


def test_validation_rows_are_as_many_as_the_models(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    figures = set()
    for most in (None, 3):
        training = {"early_stopping": {"metric": "recall@1"}}
        recipe = make_recipe(evaluation={"max_validation_rows": most}, training=training, baselines=SMALL)
        found = fit_baselines(recipe, load_tables(recipe, interactions=interactions), ["recent_popularity"])
        figures.add(found["recent_popularity"].validation)
        if most is not None:
            assert any(abs((found["recent_popularity"].validation or 0) * 3 - hits) < 1e-9 for hits in range(4))
    assert len(figures) == 2


def test_figures_and_rows(make_recipe: MakeRecipe, interactions: pl.DataFrame, users: pl.DataFrame) -> None:
    pytest.importorskip("implicit")
    recipe = make_recipe(baselines={**SMALL, "segments": [["age"]]}, evaluation={"draws": 10, "per_user": True})
    tables = load_tables(recipe, interactions=interactions, users=users)
    result = judge_baselines(recipe, tables)
    figures = json.loads(json.dumps(result.figures))
    assert list(result.rows.rankers) == NAMES == list(figures["baselines"]) == list(figures["fits"]) == list(figures["lists"])
    assert result.frozen is not None
    assert list(result.frozen.rankers) == NAMES
    assert np.array_equal(result.rows.rows, tables.split.test)
    for name in NAMES:
        assert result.rows.values(name, "recall@5", removed=True).mean() == pytest.approx(
            figures["baselines"][name]["seen_removed"]["recall@5"]
        )
        assert {"frozen", "warm", "cold"} <= set(figures["details"][name])
        assert set(figures["details"][name]["intervals"]["seen_removed"]) >= {"recall@1", "recall@5"}
        assert figures["fits"][name]["skipped"] is None
    assert figures["rows"] == {"train": 70, "validation": 10, "test": 20}
    lists = figures["lists"]
    assert lists["random"]["coverage@10"] == 1.0
    assert set(lists["popularity"]) == {"coverage@10", "gini@10", "popularity_lift@10", "novelty@10"}
    # histories that grow tell more than those that end at the cut
    assert figures["details"]["ease"]["frozen"] != figures["baselines"]["ease"]


def test_lists_are_made_once_per_user_before_the_first_test_row(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    """Ten places hold all that a user has not seen, so that the lists are known without a ranker."""
    recipe = make_recipe()
    tables = load_tables(recipe, interactions=interactions)
    by_time = tables.interactions.frame.sort("time")
    catalogue = sorted(tables.interactions.frame[tables.split.train.tolist()]["item"].unique())
    times = dict.fromkeys(catalogue, 0)
    for _, mine in by_time.group_by("user"):
        later = [row for row in mine["time"] if row in set(by_time["time"].tail(20))]
        if later:
            seen = set(mine.filter(pl.col("time") < min(later))["item"])
            for item in catalogue:
                times[item] += item not in seen
    found = judge_baselines(recipe, tables, ["popularity"]).figures["lists"]["popularity"]
    assert found["coverage@10"] == pytest.approx(sum(count > 0 for count in times.values()) / len(catalogue))
    assert found["gini@10"] == pytest.approx(gini(np.array(list(times.values()))))


def test_figures_of_popularity_and_random_are_those_of_a_run(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Any
) -> None:
    recipe = make_recipe(refit="train", evaluation={"draws": 10})
    summary = run(recipe, tmp_path / "run", interactions=interactions).summary
    found = judge_baselines(recipe, load_tables(recipe, interactions=interactions), ["popularity", "random"]).figures
    assert {name: found["baselines"][name] for name in ("popularity", "random")} == summary["baselines"]


def test_what_can_not_be_fitted_is_skipped_unless_it_was_asked_for(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    monkeypatch.setattr("twotower.runs.baselines.LARGEST_CATALOGUE", 5)
    recipe = make_recipe(baselines=SMALL)
    tables = load_tables(recipe, interactions=interactions)
    result = judge_baselines(recipe, tables)
    reasons = {name: fit["skipped"] for name, fit in result.figures["fits"].items() if fit["skipped"] is not None}
    assert set(reasons) == {"segment_popularity", "ease", "ials"} == set(NAMES) - set(result.rows.rankers)
    assert "no column to tell segments by" in reasons["segment_popularity"]
    assert "catalogues of at most 5 items; this one has " in reasons["ease"]
    assert "pip install 'twotower[baselines]'" in reasons["ials"]
    for name, reason in reasons.items():
        with pytest.raises(ConfigError) as caught:
            fit_baselines(recipe, tables, ["popularity", name])
        assert str(caught.value) == f"{name}: {reason}"


def test_names_and_columns_that_are_not_there(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(baselines={"segments": [["colour"]]})
    tables = load_tables(recipe, interactions=interactions)
    with pytest.raises(ConfigError, match="no baseline 'easy'; did you mean 'ease'"):
        fit_baselines(recipe, tables, ["easy"])
    said: list[str] = []
    with pytest.raises(ConfigError, match="segment column 'colour': no such column"):
        fit_baselines(recipe, tables, None, said.append)
    assert said == []  # before anything was fitted
    assert list(fit_baselines(recipe, tables, ["popularity"])) == ["popularity"]


def test_no_test_rows(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(split={"test": 0})
    with pytest.raises(ConfigError, match=r"split\.test gives no rows"):
        judge_baselines(recipe, load_tables(recipe, interactions=interactions), ["popularity"])


def test_items_that_train_lacks_are_left_out(make_recipe: MakeRecipe, interactions: pl.DataFrame, items: pl.DataFrame) -> None:
    """A catalogue has an item that nobody chose, and lacks one that was; the scores are over the catalogue."""
    recipe = make_recipe(baselines=SMALL)
    tables = load_tables(recipe, interactions=interactions, items=items)
    fits = fit_baselines(recipe, tables, ["popularity", "item_neighbours"])
    for fit in fits.values():
        assert fit.scorer is not None
        phase = fit_phase(recipe, tables, tables.split.train)
        assert fit.scorer(phase.examples(tables.split.test, grow=True)).num_items == 8
    assert isinstance(fits["popularity"].scorer(phase.train), PopularityScorer)  # type: ignore[misc]
