"""Popularity on MovieLens: figures that were computed independently, through the pieces that judge a model.

The data must be in the cache; nothing is fetched.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pytest
import torch

from twotower.baselines import PopularityScorer
from twotower.config import parse_config
from twotower.datasets import movielens
from twotower.errors import DatasetError
from twotower.evaluation import Evaluation, evaluate
from twotower.runs.phase import Phase, fit_phase
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables, load_tables

pytestmark = [pytest.mark.data, pytest.mark.usefixtures("cache_only")]


@pytest.fixture
def cache_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise DatasetError("tests reach no network: run make data first")

    module = sys.modules[movielens.__module__]  # as an attribute of the package, the name is the function's
    monkeypatch.setattr(module, "download_wheel", no_network)
    monkeypatch.setattr(module, "download_url", no_network)


def recipe_of(dataset: str, split: dict[str, Any], **data: Any) -> Recipe:
    columns = {"user": "user_id", "item": "movie_title", "time": "timestamp", **data.pop("columns", {})}
    return parse_config(
        Recipe,
        {
            "name": "popularity",
            "data": {"dataset": dataset, "columns": columns, **data},
            "split": split,
            "query": {"features": [{"kind": "id", "column": "user_id"}]},
            "candidate": {"features": [{"kind": "id", "column": "movie_title"}]},
        },
    )


def popularity(phase: Phase, rows: np.ndarray, ks: list[int]) -> Evaluation:
    examples = phase.examples(rows, grow=phase.grows)
    return evaluate(PopularityScorer(torch.from_numpy(phase.item_counts)), examples, ks=ks, draws=0)


@functools.cache
def hundred_k(seed: int) -> Evaluation:
    recipe = recipe_of(
        "movielens-100k", {"kind": "random", "seed": seed, "test": 20000, "validation": 0}, duplicate_items="first"
    )
    tables = load_tables(recipe)
    assert (len(tables.split.train), len(tables.split.test)) == (80_000, 20_000)
    return popularity(fit_phase(recipe, tables, tables.split.train), tables.split.test, [10, 100])


def four_digits(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}


def test_100k_random_split_42_with_both_ends_of_the_ties() -> None:
    found = hundred_k(42)
    assert found.units == 20_000
    assert found.not_in_catalogue == 0
    included, removed = found.seen_included, found.seen_removed
    figures = {name: four_digits(dict(getattr(included, name))) for name in ("values", "optimistic", "pessimistic")}
    for wanted, name in (((0.0493, 0.2961), "values"), ((0.0537, 0.2984), "optimistic"), ((0.0450, 0.2939), "pessimistic")):
        assert (figures[name]["recall@10"], figures[name]["recall@100"]) == wanted
    figures = {name: four_digits(dict(getattr(removed, name))) for name in ("values", "optimistic", "pessimistic")}
    for wanted, name in (((0.0887, 0.4118), "values"), ((0.0892, 0.4135), "optimistic"), ((0.0882, 0.4098), "pessimistic")):
        assert (figures[name]["recall@10"], figures[name]["recall@100"]) == wanted


@pytest.mark.parametrize(
    ("seed", "included", "removed"), [(43, 0.2975, 0.4150), (44, 0.3002, 0.4129), (45, 0.2994, 0.4144), (46, 0.2989, 0.4146)]
)
def test_100k_other_random_splits(seed: int, included: float, removed: float) -> None:
    found = hundred_k(seed)
    assert round(found.seen_included.values["recall@100"], 4) == included
    assert round(found.seen_removed.values["recall@100"], 4) == removed


@functools.cache
def one_m() -> tuple[Recipe, Tables]:
    recipe = recipe_of("movielens-1m", {"kind": "leave_last_out"}, columns={"min_item_count": 5})
    return recipe, load_tables(recipe)


@pytest.mark.parametrize(
    ("counted", "recall_10", "recall_200", "ndcg_10"),
    [("all but the last", 0.0363, 0.3412, (0.0178, 0.0179)), ("train", 0.0369, 0.3402, (0.0180, 0.0180))],
)
def test_1m_leave_last_out(counted: str, recall_10: float, recall_200: float, ndcg_10: tuple[float, float]) -> None:
    recipe, tables = one_m()
    parts = tables.split
    fit_rows = parts.train if counted == "train" else np.concatenate([parts.train, parts.validation])
    phase = fit_phase(recipe, tables, fit_rows)
    assert phase.grows
    assert len(phase.catalogue) == 3416
    found = popularity(phase, parts.test, [10, 200])
    assert found.units == 6040
    values = found.seen_removed.values
    assert (round(values["recall@10"], 4), round(values["recall@200"], 4)) == (recall_10, recall_200)
    low, high = ndcg_10
    assert low - 5e-5 <= values["ndcg@10"] <= high + 5e-5


def test_1m_a_frozen_history_leaves_more_to_compete() -> None:
    recipe, tables = one_m()
    phase = fit_phase(recipe, tables, tables.split.train)
    scorer = PopularityScorer(torch.from_numpy(phase.item_counts))
    grown, frozen = (evaluate(scorer, phase.examples(tables.split.test, grow=grow), ks=[10], draws=0) for grow in (True, False))
    # at the cut, every user's validation item is not yet seen, and may stand above the test item
    assert frozen.seen_included.values == grown.seen_included.values
    assert frozen.seen_removed.values["recall@10"] < grown.seen_removed.values["recall@10"]
