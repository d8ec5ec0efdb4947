"""Standings: ranks in, order, views and verdicts out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from twotower.errors import ConfigError
from twotower.evaluation import JudgedRows, PositiveRanks
from twotower.metrics import Ranks
from twotower.runs import Recipe
from twotower.runs.standings import Headline, JudgedRun, chosen_for, headline_of, standings

MakeRecipe = Callable[..., Recipe]
NUM = 600


def judged(rankers: dict[str, NDArray[np.int64]], *, shift: int = 0) -> JudgedRows:
    ones = np.ones(NUM, dtype=np.int64)
    return JudgedRows(
        rows=np.arange(NUM),
        user_rows=np.arange(NUM) // 4,
        item_rows=np.zeros(NUM, dtype=np.int64),
        warm=np.arange(NUM) < 200,
        history_lengths=ones,
        item_counts=ones,
        rankers={
            name: PositiveRanks(Ranks(above + shift, ones), Ranks(np.maximum(above + shift - 5, 0), ones))
            for name, above in rankers.items()
        },
    )


def above(seed: int, best: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, best, NUM)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    models = {
        "deep": [JudgedRun(judged({"model": above(s, 20)}), judged({"model": above(s, 20)}, shift=9)) for s in (1, 2)],
        "flat": [JudgedRun(judged({"model": above(s, 60)}), judged({"model": above(s, 60)}, shift=9)) for s in (3, 4)],
    }
    popularity = {"popularity": above(5, 200), "random": above(6, 2000)}
    baselines = JudgedRun(judged(popularity), judged(popularity, shift=9))
    return standings(models, baselines, Headline("recall@10", removed=False), ks=(1, 10), seed=0)


def test_the_best_comes_first_with_interval_and_seeds(found: dict[str, Any]) -> None:
    assert [(entry["name"], entry["kind"]) for entry in found["rankers"]] == [
        ("deep", "model"), ("flat", "model"), ("popularity", "baseline"), ("random", "baseline"),
    ]  # fmt: skip
    deep = found["rankers"][0]
    expected = [float((above(s, 20) < 10).mean()) for s in (1, 2)]
    assert deep["seeds"] == pytest.approx(expected)
    assert deep["mean"] == pytest.approx(np.mean(expected))
    assert deep["low"] < deep["mean"] < deep["high"]
    assert (found["rows"], found["users"]) == (NUM, 150)


def test_every_view_has_figures_of_its_own_rows(found: dict[str, Any]) -> None:
    assert {name: view["seen_included"]["rows"] for name, view in found["views"].items()} == {
        "all": 600, "frozen": 600, "warm": 200, "cold": 400,
    }  # fmt: skip
    hits = above(5, 200) < 10
    assert found["views"]["warm"]["seen_included"]["figures"]["popularity"]["recall@10"] == pytest.approx(hits[:200].mean())
    assert found["views"]["cold"]["seen_included"]["figures"]["popularity"]["recall@10"] == pytest.approx(hits[200:].mean())
    assert found["views"]["frozen"]["seen_included"]["figures"]["popularity"]["recall@10"] == pytest.approx(
        (above(5, 200) + 9 < 10).mean()
    )
    assert found["views"]["all"]["seen_removed"]["figures"]["popularity"]["recall@10"] == pytest.approx(
        (above(5, 200) - 5 < 10).mean()
    )
    assert set(found["views"]["all"]["seen_removed"]["figures"]["flat"]) == {"recall@1", "recall@10", "ndcg@10", "mrr"}


def test_models_are_compared_with_each_other_and_with_every_baseline(found: dict[str, Any]) -> None:
    compared = found["views"]["all"]["seen_included"]["comparisons"]
    assert {frozenset((each["first"], each["second"])) for each in compared} == {
        frozenset(pair)
        for pair in (("deep", "flat"), *((model, other) for model in ("deep", "flat") for other in ("popularity", "random")))
    }
    assert all(each["better"] for each in compared)
    assert [each["of"] for each in compared] == ["models", *["baselines"] * 4]
    # one comparison of models is corrected by itself alone
    assert compared[0]["p_holm"] == compared[0]["p_value"]
    assert min(each["p_holm"] / each["p_value"] for each in compared[1:]) > 1
    assert compared[0]["sentence"].startswith("deep is better than flat by .")


def test_no_frozen_view_where_histories_do_not_grow_and_no_groups_of_one() -> None:
    rows = judged({"model": above(1, 20)})
    rows = JudgedRows(**{**vars(rows), "warm": np.ones(NUM, dtype=np.bool_)})
    other = JudgedRun(judged({"popularity": above(5, 200)}), None)
    found = standings({"m": [JudgedRun(rows, None)]}, other, Headline("mrr", removed=True), ks=(1,), seed=0)
    assert list(found["views"]) == ["all"]
    assert found["rankers"][0]["mean"] == pytest.approx((1 / (np.maximum(above(1, 20) - 5, 0) + 1)).mean())


@pytest.mark.parametrize(
    ("stopping", "metric", "removed", "expected"),
    [
        (False, None, None, Headline("recall@5", False)),
        ({"metric": "recall@1 removed"}, None, None, Headline("recall@1", True)),
        ({"metric": "ndcg@10"}, None, True, Headline("ndcg@10", True)),
        ({"metric": "ndcg@5 per user removed"}, None, None, Headline("ndcg@5", True)),
        ({"metric": "recall@1 removed"}, None, False, Headline("recall@1", False)),
        ({"metric": "recall@1 removed"}, "mrr", None, Headline("mrr", False)),
        (False, "recall@77", True, Headline("recall@77", True)),
    ],
)
def test_the_headline_is_what_was_asked_for_or_what_training_watched(
    make_recipe: MakeRecipe, stopping: object, metric: str | None, removed: bool | None, expected: Headline
) -> None:
    assert headline_of(make_recipe(training={"early_stopping": stopping}), metric, removed) == expected


@pytest.mark.parametrize("metric", ["recall", "recall@0", "loss", "recall@5 removed"])
def test_an_unknown_headline_is_an_error(make_recipe: MakeRecipe, metric: str) -> None:
    with pytest.raises(ConfigError, match=r"recall@K, ndcg@K or mrr; came"):
        headline_of(make_recipe(), metric, None)


def test_baselines_are_tuned_for_the_rankings_that_are_shown_unless_the_recipe_says(make_recipe: MakeRecipe) -> None:
    open_, said = make_recipe(), make_recipe(baselines={"seen": "removed"})
    assert open_.baselines.seen is None
    assert chosen_for(open_, Headline("recall@5", removed=False)).baselines.seen == "included"
    assert chosen_for(open_, Headline("recall@5", removed=True)).baselines.seen == "removed"
    assert chosen_for(said, Headline("recall@5", removed=False)).baselines.seen == "removed"
