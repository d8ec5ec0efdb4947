"""The oracle beside the model: only on its own log, and the share of it that a model reaches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twotower.datasets.livestream import synthesize_livestream
from twotower.errors import ConfigError
from twotower.evaluation import JudgedRows, PositiveRanks
from twotower.metrics import Ranks
from twotower.runs import Recipe, judge_baselines, load_tables, run
from twotower.runs.baselines import baseline_rankers
from twotower.runs.oracle import oracle_summary

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "log.csv"
    synthesize_livestream(path, rows=6000, seed=3)
    return path


@pytest.fixture
def planted(make_recipe: MakeRecipe, log: Path) -> MakeRecipe:
    def make(**sections: Any) -> Recipe:
        baselines = {"truth": str(log), "train": ["popularity"], **sections.pop("baselines", {})}
        data = {
            "interactions": {"path": str(log)},
            "columns": {"user": "viewer", "item": "broadcaster", "time": None, "order": "row"},
            **sections.pop("data", {}),
        }
        base = {
            "split": {"test": 600, "validation": 100},
            "query": {"features": [{"kind": "id", "column": "viewer", "embedding": {"dim": 4}}]},
            "candidate": {"features": [{"kind": "id", "column": "broadcaster", "embedding": {"dim": 4}}]},
            "training": {"epochs": 1, "batch_size": 512, "early_stopping": {"metric": "recall@100"}},
            "evaluation": {"ks": [1, 100], "draws": 50},
        }
        return make_recipe(**{"data": data, "baselines": baselines, **base, **sections})

    return make


@pytest.mark.parametrize("items", ["train", "all"])
def test_nothing_is_better_than_the_oracle(planted: MakeRecipe, items: str) -> None:
    recipe = planted(data={"catalogue": {"items": items}}, evaluation={"ks": [1, 100], "draws": 0})
    found = judge_baselines(recipe, load_tables(recipe), ["popularity"])
    assert list(found.figures["baselines"]) == ["popularity", "oracle"]
    recalls = {name: of["seen_included"]["recall@100"] for name, of in found.figures["baselines"].items()}
    assert recalls["oracle"] > 1.5 * recalls["popularity"] > 0
    assert found.rows.rankers.keys() == {"popularity", "oracle"}


def test_new_items_are_found_only_where_they_are_in_the_catalogue(planted: MakeRecipe) -> None:
    found = {}
    for items in ("train", "all"):
        recipe = planted(data={"catalogue": {"items": items}}, evaluation={"ks": [100], "draws": 0})
        found[items] = judge_baselines(recipe, load_tables(recipe), ["popularity"])
    counts = found["all"].figures["evaluation"]
    assert found["train"].figures["evaluation"]["not_in_catalogue"] == counts["cold_item_rows"] > 0
    assert counts["not_in_catalogue"] == found["train"].figures["evaluation"]["cold_item_rows"] == 0
    assert "cold_items" not in found["train"].figures["details"]["oracle"]
    of_new = {name: of["cold_items"]["seen_included"]["recall@100"] for name, of in found["all"].figures["details"].items()}
    assert of_new["oracle"] > 0.02
    assert of_new["oracle"] > of_new["popularity"]
    rows = found["all"].rows
    cold = (rows.item_rows >= 0) & (rows.item_counts == 0)
    assert of_new["oracle"] == rows.values("oracle", "recall@100", removed=False)[cold].mean()
    assert counts["cold_item_rows"] == cold.sum()


def test_a_run_says_which_share_of_the_oracle_it_reaches(planted: MakeRecipe, tmp_path: Path) -> None:
    recipe = planted()
    summary = run(recipe, tmp_path / "run").summary
    model, oracle = (of["seen_included"]["recall@100"] for of in (summary["metrics"]["test"], summary["baselines"]["oracle"]))
    share = summary["oracle"]["shares"]["all"]["seen_included"]
    assert summary["oracle"]["metric"] == "recall@100"
    assert share["share"] == pytest.approx(model / oracle)
    assert share["low"] < share["share"] < share["high"]
    assert summary["oracle"]["shares"].keys() == {"all", "warm", "cold", "cold_frozen"}


def judged(model: list[int], oracle: list[int], warm: list[bool]) -> JudgedRows:
    size = len(model)

    def ranks(above: list[int]) -> PositiveRanks:
        found = Ranks(np.array(above), np.ones(size, dtype=np.int64))
        return PositiveRanks(found, found)

    numbers = np.arange(size)
    return JudgedRows(
        numbers, numbers, numbers, np.array(warm), numbers, numbers, {"model": ranks(model), "oracle": ranks(oracle)}
    )


def test_shares_by_group(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(evaluation={"ks": [5], "draws": 0})
    rows = judged(model=[0, 9, 9, 4, 9, 9], oracle=[0, 1, 9, 4, 9, 9], warm=[True, True, True, False, False, False])
    shares = oracle_summary(recipe, rows, None)["oracle"]["shares"]
    assert {group: of["seen_included"]["share"] for group, of in shares.items()} == pytest.approx(
        {"all": 2 / 3, "warm": 1 / 2, "cold": 1.0}
    )
    assert shares["all"]["seen_removed"] == {"share": pytest.approx(2 / 3), "low": None, "high": None}
    nothing = judged(model=[0, 9], oracle=[0, 9], warm=[True, False])
    assert oracle_summary(recipe, nothing, None)["oracle"]["shares"].keys() == {"all", "warm"}
    alone = JudgedRows(**{**vars(rows), "rankers": {"model": rows.rankers["model"]}})
    assert oracle_summary(recipe, alone, None) == {}


def test_the_share_of_cold_users_by_attributes_alone_is_that_of_frozen_histories(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(evaluation={"ks": [5], "draws": 0})
    warm = [True, True, False, False, False]
    rows = judged(model=[0, 9, 0, 4, 4], oracle=[0, 1, 4, 4, 4], warm=warm)
    frozen = judged(model=[0, 0, 9, 4, 9], oracle=[0, 1, 4, 4, 9], warm=warm)
    shares = oracle_summary(recipe, rows, frozen)["oracle"]["shares"]
    assert {group: of["seen_included"]["share"] for group, of in shares.items()} == pytest.approx(
        {"all": 4 / 5, "warm": 1 / 2, "cold": 1.0, "cold_frozen": 1 / 2}
    )


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"sample": {"fraction": 0.5}}}, "keep all of its rows"),
        ({"baselines": {"truth": "nowhere.csv"}}, r"baselines\.truth: .*nowhere"),
        ({"data": {"columns": {"user": "broadcaster", "item": "viewer", "time": None, "order": "row"}}}, r"baselines\.truth"),
    ],
)
def test_a_truth_that_does_not_fit(planted: MakeRecipe, sections: dict[str, Any], message: str) -> None:
    if "columns" in sections.get("data", {}):
        sections |= {
            "query": {"features": [{"kind": "id", "column": "broadcaster"}]},
            "candidate": {"features": [{"kind": "id", "column": "viewer"}]},
        }
    recipe = planted(**sections)
    with pytest.raises(ConfigError, match=message):
        baseline_rankers(recipe, load_tables(recipe))


def test_the_truth_of_another_log(planted: MakeRecipe, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    synthesize_livestream(other, rows=6000, seed=4)
    recipe = planted(baselines={"truth": str(other)})
    with pytest.raises(ConfigError, match=r"baselines\.truth: row .* is not of viewer"):
        baseline_rankers(recipe, load_tables(recipe))
