"""Whole runs on a small world: what is trained on what, what is reported, what lies in the folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.errors import ConfigError, DataError
from twotower.recommender import Recommender
from twotower.runs import Recipe, reevaluate, run

MakeRecipe = Callable[..., Recipe]
HISTORY = {"kind": "history", "max_length": 5, "embedding": {"dim": 4}}
USER = {"kind": "id", "column": "user", "embedding": {"dim": 4}}
ITEM = {"kind": "id", "column": "item", "embedding": {"dim": 4}}


def in_time(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("time")


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in Recommender.load(folder).model.named_parameters()}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_the_result_is_what_was_promised(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(evaluation={"ks": [1, 5, 100], "draws": 20, "per_user": True})
    result = run(recipe, tmp_path / "run", interactions=interactions)
    summary = json.loads((tmp_path / "run" / "result.json").read_text())
    assert summary == json.loads(json.dumps(result.summary))
    assert (summary["run_dir"], summary["recipe"]) == (str(tmp_path / "run"), "small")
    assert summary["rows"] == {"train": 70, "validation": 10, "test": 20}
    keys = ["recall@1", "recall@5", "recall@100", "ndcg@10", "mrr"]
    for found in (summary["metrics"]["test"], summary["baselines"]["popularity"], summary["baselines"]["random"]):
        assert list(found) == ["seen_included", "seen_removed"]
        assert list(found["seen_included"]) == list(found["seen_removed"]) == keys
    assert set(summary["training"]) == {"epochs", "seconds", "rows_per_s"}
    assert summary["training"]["epochs"] == 2
    assert summary["evaluation"]["seconds"] > 0
    assert summary["evaluation"]["rows"] == 20
    assert summary["evaluation"]["users"] == in_time(interactions).tail(20)["user"].n_unique()
    assert summary["peak_memory_bytes"] > 10_000_000
    low, high = summary["details"]["model"]["intervals"]["seen_included"]["recall@5"]
    assert 0 <= low <= summary["metrics"]["test"]["seen_included"]["recall@5"] <= high <= 1
    assert "recall@5" in summary["details"]["model"]["per_user"]["seen_removed"]
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == [
        ".lock", "bundle", "checkpoints", "data.json", "judged", "metrics.jsonl", "recipe.json", "result.json",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in lines] == [("select", 1), ("select", 2)]
    assert json.loads((tmp_path / "run" / "data.json").read_text())["rows_read"] == 100


def test_popularity_is_counted_by_hand(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    found = run(
        make_recipe(evaluation={"ks": [1, 3]}, training={"early_stopping": False}), tmp_path / "run", interactions=interactions
    ).summary
    ordered = in_time(interactions)
    counts = dict(ordered.head(70).group_by("item").len().iter_rows())
    hits = 0.0
    for item in ordered.tail(20)["item"].to_list():
        if item not in counts:
            continue
        above = sum(count > counts[item] for count in counts.values())
        tied = sum(count == counts[item] for count in counts.values())
        hits += min(1.0, max(0.0, (3 - above) / tied))
    assert found["baselines"]["popularity"]["seen_included"]["recall@3"] == pytest.approx(hits / 20)


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ({"kind": "time", "test": 0.2, "validation": 10}, (70, 10, 20)),
        ({"kind": "random", "test": 30, "validation": 0.1, "seed": 3}, (63, 7, 30)),
        ({"kind": "leave_last_out"}, (81, 9, 10)),  # one user has two rows, and so no validation
        ({"kind": "given", "column": "part"}, (90, 4, 6)),
    ],
)
def test_every_split_runs_from_end_to_end(
    split: dict[str, Any], rows: tuple[int, int, int], make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    parts = pl.Series("part", ["train"] * 90 + ["validation"] * 4 + ["test"] * 6)
    recipe = make_recipe(query={"features": [USER, HISTORY]}, model={"layer_sizes": [4]})
    values = recipe.model_dump(mode="json") | {"split": split}
    summary = run(Recipe.model_validate(values), tmp_path / "run", interactions=interactions.with_columns(parts)).summary
    assert tuple(summary["rows"].values()) == rows
    grows = split["kind"] in ("time", "leave_last_out")
    assert ("frozen" in summary["details"]["model"]) == grows
    again = reevaluate(tmp_path / "run", interactions=interactions.with_columns(parts))
    assert again["metrics"] == summary["metrics"]
    assert again["baselines"] == summary["baselines"]
    assert again["details"] == json.loads(json.dumps(summary["details"]))


def test_histories_grow_at_test_time_and_frozen_ones_are_told_apart(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    # every user walks round the items, so that only the very last item tells the next one
    users, steps = 8, 30
    frame = pl.DataFrame(
        {
            "user": [f"u{u}" for _ in range(steps) for u in range(users)],
            "item": [(3 * u + s) % 6 for s in range(steps) for u in range(users)],
            "time": [1_600_000_000 + s * users + u for s in range(steps) for u in range(users)],
        }
    )
    recipe = make_recipe(
        query={"features": [HISTORY | {"max_length": 1, "own_item": "allow", "embedding": {"dim": 8}}]},
        candidate={"features": [ITEM | {"embedding": {"dim": 8}}]},
        split={"test": 64, "validation": 8},
        loss={"kind": "full"},
        training={"epochs": 30, "optimizer": {"kind": "adagrad", "learning_rate": 0.5}, "early_stopping": False},
    )
    summary = run(recipe, tmp_path / "run", interactions=frame).summary
    grown = summary["metrics"]["test"]["seen_included"]["recall@1"]
    frozen = summary["details"]["model"]["frozen"]["seen_included"]["recall@1"]
    assert grown > 0.95
    assert frozen < 0.5
    same_for_popularity = summary["details"]["popularity"]["frozen"]["seen_included"]
    assert same_for_popularity == summary["baselines"]["popularity"]["seen_included"]


def test_warm_and_cold_users_are_reported_apart(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    summary = run(make_recipe(), tmp_path / "run", interactions=interactions).summary
    ordered = in_time(interactions)
    known = set(ordered.head(70)["user"])
    cold = sum(user not in known for user in ordered.tail(20)["user"])
    counts, details = summary["evaluation"], summary["details"]["model"]
    assert cold > 0
    assert (counts["cold_rows"], counts["warm_rows"]) == (cold, 20 - cold)
    mixed = (cold * details["cold"]["seen_included"]["mrr"] + (20 - cold) * details["warm"]["seen_included"]["mrr"]) / 20
    assert summary["metrics"]["test"]["seen_included"]["mrr"] == pytest.approx(mixed)


@pytest.mark.parametrize("refit", ["none", "train", "all"])
def test_what_each_refit_trains_on(refit: str, make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(refit=refit, training={"epochs": 3})
    summary = run(recipe, tmp_path / "run", interactions=interactions).summary
    ordered = in_time(interactions)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = {line["phase"]: line["rows"] for line in lines}
    assert (
        trained
        == {
            "none": {"select": 70},
            "train": {"select": 70, "refit": 80},
            "all": {"select": 70, "refit": 80, "production": 100},
        }[refit]
    )
    epochs = [line["epoch"] for line in lines if line["phase"] == "refit"]
    assert epochs == list(range(1, summary["selection"]["epoch"] + 1) if refit != "none" else [])
    shipped = Recommender.load(tmp_path / "run")
    rows = {"none": 70, "train": 80, "all": 100}[refit]
    assert sorted(shipped.catalogue.ids) == sorted(set(ordered.head(rows)["item"]))
    last = ordered.head(rows).filter(pl.col("user") == "u1")["item"].to_list()
    assert shipped.history("u1") == last
    assert (tmp_path / "run" / "measured").is_dir() == (refit == "all")
    again = reevaluate(tmp_path / "run", interactions=interactions)
    assert again["metrics"] == summary["metrics"]
    if refit == "all":
        with pytest.raises(Exception, match="test rows too"):
            reevaluate(tmp_path / "run" / "bundle", interactions=interactions)


def test_refit_measures_the_refitted_model(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    figures = {}
    for refit in ("train", "all"):
        folder = tmp_path / refit
        figures[refit] = run(make_recipe(refit=refit), folder, interactions=interactions).summary["metrics"]
    assert figures["train"] == figures["all"]
    assert same(weights_of(tmp_path / "train"), weights_of(tmp_path / "all" / "measured"))
    assert not same(weights_of(tmp_path / "train"), weights_of(tmp_path / "all"))


def test_fit_on_all_knows_the_test_rows_and_says_so(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    sizes, notes = {}, {}
    for fit_on in ("train", "all"):
        result = run(make_recipe(data={"fit_on": fit_on}), tmp_path / fit_on, interactions=interactions)
        tables = Recommender.load(tmp_path / fit_on).model.spec.tables
        sizes[fit_on] = next(table.vocabulary_size for table in tables if table.name == "query/user")
        notes[fit_on] = result.summary["notes"]
    known = in_time(interactions).head(70)["user"].n_unique()
    assert known < interactions["user"].n_unique()
    assert sizes == {"train": known + 1, "all": interactions["user"].n_unique() + 1}
    assert notes["train"] == []
    assert "leaking" in notes["all"][0]


def test_validating_on_test_rows_is_labelled(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(evaluation={"validate_on": "test"}, training={"early_stopping": False}, split={"validation": 0})
    summary = run(recipe, tmp_path / "run", interactions=interactions).summary
    assert "leaking" in summary["notes"][0]
    assert summary["selection"]["validation"]["recall@5"] == pytest.approx(
        summary["metrics"]["test"]["seen_included"]["recall@5"]
    )


def test_without_validation_rows_nothing_stops_early_and_that_is_said(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    summary = run(make_recipe(split={"validation": 0}), tmp_path / "run", interactions=interactions).summary
    assert "without early stopping" in summary["notes"][0]
    assert summary["selection"].pop("seconds") > 0
    assert summary["selection"] == {"epoch": 2, "epochs_run": 2, "validation": {}}


def test_items_and_users_tables(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe(
        query={"features": [USER, {"kind": "number", "column": "age", "missing": {"fill": 25}}]},
        candidate={"features": [ITEM, {"kind": "number", "column": "price"}]},
        model={"layer_sizes": [4]},
    )
    summary = run(recipe, tmp_path / "run", interactions=interactions, items=items, users=users).summary
    report = json.loads((tmp_path / "run" / "data.json").read_text())
    assert report["rows_kept"] == 98, "item 7 is not in the catalogue"
    assert summary["evaluation"]["catalogue"] == 8
    recommender = Recommender.load(tmp_path / "run")
    assert recommender.catalogue.ids.to_list() == items["item"].to_list()
    assert {"price", "rank", "score"} <= set(recommender.recommend(["u1"], k=2).frame.columns)
    assert recommender.history("idle") == []
    assert "idle" in recommender.users
    assert len(recommender.recommend(["idle"], k=8).frame) == 8
    ages = dict(recommender.users.table.frame.select("user", "age").iter_rows())
    assert (ages["u4"], ages["u3"], ages["idle"]) == (23, None, 29)


def test_positives_decide_what_is_trained_on_and_judged(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe(data={"columns": {"positives": "rating >= 4"}}, split={"test": 10, "validation": 5})
    run(recipe, tmp_path / "run", interactions=interactions)
    good = in_time(interactions.filter(pl.col("rating") >= 4))
    assert json.loads((tmp_path / "run" / "data.json").read_text())["rows_kept"] == good.height
    expected = good.head(good.height - 15).filter(pl.col("user") == "u2")["item"].to_list()
    assert Recommender.load(tmp_path / "run").history("u2") == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"data": {"columns": {"weight": "weight"}}}),
        ({}, {"loss": {"temperature": 0.5}}),
        ({"loss": {"kind": "in_batch"}}, {"loss": {"kind": "full"}}),
        ({"loss": {"kind": "in_batch"}}, {"loss": {"kind": "in_batch", "log_q": False}}),
        ({"loss": {"kind": "in_batch"}}, {"loss": {"kind": "in_batch", "extra_negatives": 5}}),
        ({"loss": {"kind": "in_batch"}}, {"loss": {"kind": "in_batch", "mask_accidental_hits": False}}),
        ({"loss": {"kind": "in_batch"}}, {"loss": {"kind": "in_batch", "mask_known_positives": True}}),
        ({}, {"loss": {"hard_negatives": 2}}),
        ({}, {"loss": {"reduction": "sum"}}),
        ({}, {"loss": {"learn_temperature": True}}),
        ({}, {"seed": 2}),
        ({}, {"model": {"layer_sizes": [4]}}),
        ({"model": {"layer_sizes": [4]}}, {"model": {"layer_sizes": [4], "input_dropout": 0.5}}),
        ({"model": {"layer_sizes": [4]}}, {"model": {"layer_sizes": [4]}, "query": {"input_dropout": 0.5}}),
        ({}, {"model": {"l2_normalise": True}}),
        ({}, {"training": {"clip_norm": 0.001}}),
        ({}, {"training": {"batch_size": 7}}),
        ({}, {"data": {"columns": {"repeats": "first"}}}),
    ],
)  # fmt: skip
def test_options_change_the_model(
    first: dict[str, Any], second: dict[str, Any], make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    for name, sections in (("first", first), ("second", second)):
        run(make_recipe(**sections), tmp_path / name, interactions=interactions)
    assert not same(weights_of(tmp_path / "first"), weights_of(tmp_path / "second"))


def test_the_same_recipe_gives_the_same_bits(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run(make_recipe(), tmp_path / name, interactions=interactions)
    assert same(weights_of(tmp_path / "first"), weights_of(tmp_path / "second"))


def test_rows_of_weight_0_are_history_but_teach_nothing(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    silent = interactions.with_columns(pl.when(pl.col("user") == "u2").then(0.0).otherwise(1.0).alias("weight"))
    recipe = make_recipe(data={"columns": {"weight": "weight"}}, training={"batch_size": 1}, loss={"kind": "in_batch"})
    run(recipe, tmp_path / "run", interactions=silent)
    ordered = in_time(silent).head(70)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["rows"] == ordered.filter(pl.col("user") != "u2").height
    recommender = Recommender.load(tmp_path / "run")
    assert recommender.history("u2") == ordered.filter(pl.col("user") == "u2")["item"].to_list()
    with pytest.raises(DataError, match="all 70 hold 0"):
        run(recipe, tmp_path / "none", interactions=interactions.with_columns(weight=0.0))


def test_a_data_frame_or_a_source_is_needed(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="where are the interactions"):
        run(make_recipe(), tmp_path / "run")


def test_listeners_hear_every_phase(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    heard: list[str] = []
    run(make_recipe(refit="all"), tmp_path / "run", interactions=interactions, listener=lambda phase, _: heard.append(phase))
    assert list(dict.fromkeys(heard)) == ["data", "select", "refit", "evaluate", "production", "bundle"]
