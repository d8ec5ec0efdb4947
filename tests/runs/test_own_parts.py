"""Towers and losses of one's own, passed from Python."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from twotower.errors import BundleError
from twotower.losses import InBatchSoftmax
from twotower.models import TwoTower, build
from twotower.recommender import Recommender
from twotower.runs import Recipe, parse_recipe, reevaluate, run
from twotower.spec import ModelSpec
from twotower.types import QueryFeatures


class Halved(TwoTower):
    """The same parameters, another forward: what a bundle could not tell by its weights."""

    def encode_queries(self, features: QueryFeatures) -> Tensor:
        return super().encode_queries(features).flip(1)


def halved(spec: ModelSpec, *, seed: int) -> TwoTower:
    model = build(spec, seed=seed)
    return Halved(model.spec, model.embeddings, model.query, model.candidate)


class Counting(InBatchSoftmax):
    calls = 0

    def forward(self, *arguments: Tensor, **options: object) -> Tensor:
        Counting.calls += 1
        value: Tensor = super().forward(*arguments, **options)  # type: ignore[arg-type]
        return value


def counting() -> Counting:
    return Counting(log_q=True)


@pytest.fixture
def rows() -> pl.DataFrame:
    generator = torch.Generator().manual_seed(0)
    users = torch.randint(12, (150,), generator=generator)
    items = torch.randint(9, (150,), generator=generator)
    return pl.DataFrame({"user": users.numpy(), "item": items.numpy(), "time": range(150)})


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(
        {
            "name": "own",
            "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
            "query": {"features": [{"kind": "id", "column": "user", "embedding": {"dim": 4}}]},
            "candidate": {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 4}}]},
            "model": {"layer_sizes": [4]},
            "training": {"epochs": 2, "batch_size": 32, "early_stopping": False},
            "evaluation": {"ks": [1, 3], "draws": 0},
        }
    )


def test_a_tower_of_ones_own_is_trained_judged_and_loaded(rows: pl.DataFrame, recipe: Recipe, tmp_path: Path) -> None:
    own = run(recipe, tmp_path / "own", interactions=rows, builder=halved).summary
    plain = run(recipe, tmp_path / "plain", interactions=rows).summary
    assert own["metrics"] != plain["metrics"]
    again = reevaluate(tmp_path / "own", interactions=rows, builder=halved)
    assert again["metrics"] == own["metrics"]
    recommender = Recommender.load(tmp_path / "own", builder=halved)
    assert isinstance(recommender.model, Halved)


def test_a_bundle_is_not_loaded_with_another_builder(rows: pl.DataFrame, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "run", interactions=rows, builder=halved)
    with pytest.raises(BundleError, match=r"was built by .*halved.*load with builder="):
        Recommender.load(tmp_path / "run")
    run(recipe, tmp_path / "plain", interactions=rows)
    with pytest.raises(BundleError, match=r"was built by twotower\.models\.build\.build"):
        Recommender.load(tmp_path / "plain", builder=halved)


def test_a_loss_of_ones_own_is_used(rows: pl.DataFrame, recipe: Recipe, tmp_path: Path) -> None:
    Counting.calls = 0
    run(recipe, tmp_path / "run", interactions=rows, loss=counting)
    assert Counting.calls > 0


def test_a_run_with_no_test_rows_is_refused_before_training(rows: pl.DataFrame, recipe: Recipe, tmp_path: Path) -> None:
    from twotower.data import TimeSplit
    from twotower.errors import ConfigError

    with pytest.raises(ConfigError, match=r"split\.test gives no rows"):
        run(recipe.model_copy(update={"split": TimeSplit(test=0)}), tmp_path / "run", interactions=rows)
    assert not (tmp_path / "run" / "bundle").exists()
