"""Scores, lengths and the map, on vectors whose answers are known."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from twotower.evaluation import ModelScorer
from twotower.runs import LoadedRun, Recipe, load_run, run
from twotower.runs.report_items import ItemTexts, by_train_rows
from twotower.runs.report_vectors import item_map, vector_figures


@pytest.fixture(scope="module")
def loaded(
    make_recipe: Callable[..., Recipe], interactions: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> LoadedRun:
    recipe = make_recipe(loss={"temperature": 0.5})
    folder = run(recipe, tmp_path_factory.mktemp("vectors") / "run", interactions=interactions).folder
    return load_run(folder, interactions=interactions)


def scorer_of(loaded: LoadedRun) -> ModelScorer:
    examples = loaded.phase.examples(loaded.tables.split.test, grow=True)
    return ModelScorer(loaded.recommender.model, loaded.phase.items, examples, device=torch.device("cpu"))


def test_figures_agree_with_a_dense_count(loaded: LoadedRun) -> None:
    scorer = scorer_of(loaded)
    found = vector_figures(loaded, scorer, seed=0)
    assert found is not None
    known = np.flatnonzero(scorer.examples.item_rows.numpy() >= 0)
    with torch.inference_mode():
        queries_QD = loaded.recommender.model.encode_queries(scorer.examples.queries(torch.from_numpy(known), training=False))
    queries, items = queries_QD.double().numpy(), scorer.vectors_ND.double().numpy()
    scores_QN = queries @ items.T
    own = scores_QN[np.arange(len(known)), scorer.examples.item_rows.numpy()[known]]
    logits = scores_QN / 0.5
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert (found.queries, found.temperature, found.temperature_note) == (len(known), 0.5, "of the recipe")
    assert found.scores[0].mean == pytest.approx(own.mean(), rel=1e-5)
    assert found.logit_spread == pytest.approx(logits.std(axis=1).mean(), rel=1e-5)
    assert found.perplexity == pytest.approx(np.exp(-(chances * np.log(chances)).sum(axis=1)).mean(), rel=1e-5)
    assert 1 <= found.perplexity <= len(items)
    lengths = np.sqrt((items**2).sum(axis=1))
    assert found.candidate_norms.mean == pytest.approx(lengths.mean(), rel=1e-5)
    assert found.query_norms.mean == pytest.approx(np.sqrt((queries**2).sum(axis=1)).mean(), rel=1e-5)
    assert found.norm_popularity == pytest.approx(np.corrcoef(lengths, np.log1p(loaded.phase.item_counts))[0, 1], rel=1e-4)
    for distribution in (*found.scores, found.query_norms, found.candidate_norms):
        assert sum(distribution.shares) == pytest.approx(1)
        assert len(distribution.edges) == len(distribution.shares) + 1
    assert found.scores[1].count == 10 * len(known)
    assert found == vector_figures(loaded, scorer, seed=0)
    assert found != vector_figures(loaded, scorer, seed=1)


def test_vectors_that_are_all_alike_are_told_as_such(loaded: LoadedRun) -> None:
    scorer = scorer_of(loaded)
    scorer.vectors_ND = torch.ones_like(scorer.vectors_ND)
    found = vector_figures(loaded, scorer, seed=0)
    assert found is not None
    assert found.ordered_fraction == 0.5
    assert found.logit_spread == pytest.approx(0, abs=1e-9)
    assert found.perplexity == pytest.approx(scorer.num_items)
    assert found.norm_popularity is None
    texts = ItemTexts(loaded.recommender)
    thirds = by_train_rows(loaded.phase.item_counts, 3)
    assert item_map(loaded, scorer.vectors_ND, thirds, texts, seed=0) is None
    assert item_map(loaded, torch.rand(scorer.num_items, 1), thirds, texts, seed=0) is None


def test_a_learned_temperature_is_that_of_the_end_of_training(
    make_recipe: Callable[..., Recipe], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    optimizer = {"kind": "adamw", "learning_rate": 0.1}
    recipe = make_recipe(loss={"temperature": 0.5, "learn_temperature": True}, training={"optimizer": optimizer})
    folder = run(recipe, tmp_path / "run", interactions=interactions).folder
    loaded = load_run(folder, interactions=interactions)
    scorer = scorer_of(loaded)
    found = vector_figures(loaded, scorer, seed=0)
    assert found is not None
    path = loaded.place.checkpoints("select") / "best.safetensors"
    assert found.temperature == pytest.approx(math.exp(float(load_file(path)["loss:temperature.log_excess"])))
    assert abs(found.temperature - 0.5) > 0.01
    assert found.temperature_note == "learned: at the end of training"
    shutil.rmtree(loaded.place.path / "checkpoints")
    unknown = vector_figures(loaded, scorer, seed=0)
    assert unknown is not None
    assert (unknown.temperature, unknown.temperature_note) == (0.5, "where learning started")
    assert unknown.logit_spread == pytest.approx(found.logit_spread * found.temperature / 0.5)


def test_rounding_is_no_map(loaded: LoadedRun) -> None:
    size = len(loaded.phase.item_counts)
    vectors = torch.full((size, 3), 0.1) + 1e-8 * torch.arange(size)[:, None]
    thirds = by_train_rows(loaded.phase.item_counts, 3)
    assert item_map(loaded, vectors, thirds, ItemTexts(loaded.recommender), seed=0) is None


def test_the_map_is_that_of_a_singular_value_decomposition(loaded: LoadedRun) -> None:
    size = len(loaded.phase.item_counts)
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(size, 3)) * [5.0, 2.0, 0.5])
    found = item_map(loaded, vectors, by_train_rows(loaded.phase.item_counts, 3), ItemTexts(loaded.recommender), seed=0)
    assert found is not None
    centred = vectors.numpy() - vectors.numpy().mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    for k, places in enumerate((found.x, found.y)):
        expected = centred @ axes[k]
        assert np.abs(places) == pytest.approx(np.abs(expected), abs=1e-4)
        assert found.variance[k] == pytest.approx((sizes**2 / (sizes**2).sum())[k])
    assert found.of == len(found.titles) == size
    assert found.counts == tuple(loaded.phase.item_counts.tolist())
    assert found.category_column is None


class _Many:
    """As much of a run as a map of many items takes."""

    def __init__(self, size: int) -> None:
        self.phase: Any = self
        self.item_counts = np.arange(size)[::-1].copy()
        self.titles = [f"item {i}" for i in range(size)]
        self.category_column = "kind"
        self.main = ["even" if i % 2 == 0 else "odd" for i in range(size)]

    def main_categories(self) -> list[str]:
        return self.main


def test_of_a_large_catalogue_a_sample_is_shown(tmp_path: Path) -> None:
    size = 50_000
    many: Any = _Many(size)
    vectors = torch.from_numpy(np.random.default_rng(1).normal(size=(size, 8)))
    found = item_map(many, vectors, by_train_rows(many.item_counts, 3), many, seed=3)
    assert found is not None
    assert (found.of, len(found.x), len(found.titles), len(found.categories)) == (size, 2500, 2500, 2500)
    for title, count, category in zip(found.titles, found.counts, found.categories, strict=True):
        item = int(title.split()[1])
        assert count == size - 1 - item
        assert category == ("even" if item % 2 == 0 else "odd")
    assert found == item_map(many, vectors, by_train_rows(many.item_counts, 3), many, seed=3)
