"""The loss that a recipe gets, and what it is corrected for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from twotower.errors import ConfigError
from twotower.evaluation import ModelScorer, evaluate_per_user
from twotower.losses import GBCE, BilateralSoftmax, FullSoftmax, InBatchSoftmax
from twotower.runs import Recipe, load_tables
from twotower.runs.build_loss import build_loss, loss_kind
from twotower.runs.fit_model import UntrainedModel, build_model, fit_model
from twotower.runs.phase import fit_phase
from twotower.runs.recipe import LossConfig

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("config", "catalogue_size", "kind"),
    [
        ({}, 100, "full"),
        ({}, 101, "in_batch"),
        ({"log_q": True}, 100, "in_batch"),
        ({"log_q": False}, 100, "full"),
        ({"log_q": "corrected"}, 100, "in_batch"),
        ({"extra_negatives": 1}, 100, "in_batch"),
        ({"queue_batches": 1}, 100, "in_batch"),
        ({"kind": "in_batch"}, 5, "in_batch"),
        ({"kind": "full"}, 10_000, "full"),
    ],
)
def test_auto_is_full_where_the_catalogue_fits_a_batch(config: dict[str, Any], catalogue_size: int, kind: str) -> None:
    assert loss_kind(LossConfig(**config), catalogue_size=catalogue_size, batch_size=100) == kind


def test_in_batch_logits_are_corrected_unless_the_recipe_says_no() -> None:
    for log_q, expected in ((None, True), (True, True), (False, False)):
        loss = build_loss(LossConfig(kind="in_batch", log_q=log_q), catalogue_size=10, batch_size=4)
        assert isinstance(loss, InBatchSoftmax)
        assert loss.uses_log_q == expected
        assert not loss.certain_positive
    corrected = build_loss(LossConfig(kind="in_batch", log_q="corrected"), catalogue_size=10, batch_size=4)
    assert isinstance(corrected, InBatchSoftmax)
    assert (corrected.uses_log_q, corrected.certain_positive) == (True, True)
    full = build_loss(LossConfig(), catalogue_size=4, batch_size=4)
    assert isinstance(full, FullSoftmax)
    assert not full.uses_log_q


def untrained(recipe: Recipe, interactions: pl.DataFrame) -> UntrainedModel:
    tables = load_tables(recipe, interactions=interactions)
    return build_model(recipe, fit_phase(recipe, tables, tables.split.train))


@pytest.mark.parametrize(("batch_size", "extra"), [(16, 0), (16, 8), (1000, 8)])
def test_log_q_is_the_chance_of_being_a_negative(
    batch_size: int, extra: int, make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    recipe = make_recipe(loss={"kind": "in_batch", "extra_negatives": extra}, training={"batch_size": batch_size})
    ready = untrained(recipe, interactions)
    train = interactions.sort("time").head(70)["item"].to_list()
    drawn = min(batch_size, 70)  # a batch has no more rows than there are
    catalogue = ready.phase.catalogue.ids.to_list()
    expected = [(drawn * train.count(item) / 70 + extra / len(catalogue)) / (drawn + extra) for item in catalogue]
    assert ready.log_q_N is not None
    np.testing.assert_allclose(ready.log_q_N.exp().numpy(), expected, rtol=1e-5)


def test_log_q_is_the_share_that_items_have_among_what_batches_draw(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    recipe = make_recipe(loss={"extra_negatives": 8, "queue_batches": 1}, training={"batch_size": 10})
    ready = untrained(recipe, interactions)
    assert ready.log_q_N is not None
    drawn_N, epochs = torch.zeros(7), 150
    for epoch in range(1, epochs + 1):
        for index in range(7):
            batch = ready.batches.batch(epoch, index)
            assert batch.candidate_rows is not None
            assert batch.counts is not None
            drawn_N[batch.candidate_rows] += batch.counts
    draws = 7 * epochs * (10 + 10 + 8)
    assert int(drawn_N.sum()) == draws
    # what is not uniform are whole epochs, exact but for the first and last queue; the uniform share varies as throws do
    spread = 5 * (7 * epochs * 8 * (1 / 7) * (6 / 7)) ** 0.5 / draws + 10 / draws
    np.testing.assert_allclose((drawn_N / draws).numpy(), ready.log_q_N.exp().numpy(), atol=spread)
    popularity_N = untrained(make_recipe(loss={"kind": "in_batch"}), interactions).log_q_N
    assert popularity_N is not None
    assert float((popularity_N.exp() - drawn_N / draws).abs().max()) > 2 * spread  # which alone it is not


def test_what_waits_in_the_queue_was_drawn_as_often_as_it_is_popular(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    def log_q(**loss: int) -> NDArray[np.float32]:
        ready = untrained(make_recipe(loss={"kind": "in_batch", **loss}), interactions)
        assert ready.log_q_N is not None
        found: NDArray[np.float32] = ready.log_q_N.exp().numpy()
        return found

    popularity, uniform = log_q(), 1 / 7
    np.testing.assert_array_equal(log_q(queue_batches=2), popularity)
    mixed = (16 * 3 * popularity + 8 * uniform) / (16 * 3 + 8)
    np.testing.assert_allclose(log_q(queue_batches=2, extra_negatives=8), mixed, rtol=1e-5)


def test_a_sketch_counts_in_place_of_a_table(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    options = {"extra_negatives": 8, "queue_batches": 2}
    held = untrained(make_recipe(loss={"kind": "in_batch", **options}), interactions)
    ready = untrained(make_recipe(loss={**options, "sketch": {"width": 1024, "depth": 3}}, seed=5), interactions)
    assert isinstance(ready.loss, InBatchSoftmax)  # auto: the full softmax needs no counts
    assert held.streamed_log_q is None
    assert ready.log_q_N is None
    streamed = ready.streamed_log_q
    assert streamed is not None
    assert (streamed.sketch.width, streamed.sketch.depth) == (1024, 3)
    other = untrained(make_recipe(loss={**options, "sketch": {"width": 1024, "depth": 3}}, seed=6), interactions)
    # what an epoch's batches come to is what the table says
    for index in range(len(ready.batches)):
        batch = ready.batches.batch(0, index)
        assert batch.candidate_rows is not None
        found = streamed(batch.candidate_rows, batch.positives)
        assert other.streamed_log_q is not None
        other.streamed_log_q(batch.candidate_rows, batch.positives)
    assert held.log_q_N is not None
    assert torch.equal(found, held.log_q_N[batch.candidate_rows])
    expected = ready.expected_log_q()
    assert expected is not None
    assert torch.equal(expected, held.log_q_N)
    assert held.expected_log_q() is held.log_q_N
    assert other.streamed_log_q is not None
    assert not torch.equal(other.streamed_log_q.sketch.counters, streamed.sketch.counters)  # hashes are of the seed


@pytest.mark.parametrize(("extra", "calibration", "beta"), [(0, None, 1.0), (2, None, 1 - 0.75 * 5 / 7), (2, 1.0, 2 / 7)])
def test_gbce_is_calibrated_for_its_draws(
    extra: int, calibration: float | None, beta: float, make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    options = {} if calibration is None else {"calibration": calibration}
    ready = untrained(make_recipe(loss={"kind": "gbce", "extra_negatives": extra, **options}), interactions)
    assert isinstance(ready.loss, GBCE)
    assert ready.loss.beta == pytest.approx(beta)
    assert ready.log_q_N is None
    assert ready.batches.candidates == ("uniform" if extra else "catalogue")


def test_the_bilateral_softmax_knows_whose_row_each_is(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    ready = untrained(
        make_recipe(loss={"kind": "bsl", "positive_temperature": 0.5, "negative_weight": 1.2, "log_q": False}), interactions
    )
    assert isinstance(ready.loss, BilateralSoftmax)
    assert [float(t.value()) for t in (ready.loss.temperature, ready.loss.positive_temperature)] == [1.0, 0.5]
    assert ready.loss.negative_weight == 1.2
    assert ready.log_q_N is None
    batch = ready.batches.batch(0, 0)
    assert batch.users is not None
    assert torch.equal(batch.users, ready.phase.train.user_rows[batch.rows].long())
    corrected = untrained(make_recipe(loss={"kind": "bsl"}), interactions)
    assert corrected.log_q_N is not None
    assert untrained(make_recipe(loss={"kind": "in_batch"}), interactions).batches.batch(0, 0).users is None


def test_more_draws_than_items_are_refused(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    for extra in (7, 8):
        with pytest.raises(ConfigError, match=f"the catalogue has 7 items; to draw {extra} of them costs no less than all"):
            untrained(make_recipe(loss={"kind": "gbce", "extra_negatives": extra}), interactions)


def test_nothing_is_corrected_with_the_full_softmax(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    assert untrained(make_recipe(), interactions).log_q_N is None


def test_weights_come_from_the_seed(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    def first(seed: int) -> torch.Tensor:
        return next(iter(untrained(make_recipe(seed=seed), interactions).model.parameters())).detach()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


@pytest.mark.parametrize("kind", ["in_batch", "full"])
def test_the_precision_of_a_loss_is_the_recipes(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    losses = []
    for changes in ({}, {"precision": "float32"}, {"precision": "bfloat16"}):
        config = LossConfig.model_validate({"kind": kind, "log_q": False, **changes})
        losses.append(float(build_loss(config, catalogue_size=5, batch_size=5)(queries, candidates, torch.arange(5))))
    assert losses[0] == losses[1]
    assert 0 < abs(losses[2] - losses[0]) < 0.05


def test_validation_judges_one_list_per_user_where_training_stops_by_that(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    plain = {"recall@1", "recall@5", "ndcg@10", "mrr"}
    for metric in ("recall@5", "ndcg@5 per user removed"):
        recipe = make_recipe(training={"early_stopping": {"metric": metric}, "epochs": 1})
        tables = load_tables(recipe, interactions=interactions)
        ready = untrained(recipe, interactions)
        rows = tables.split.validation
        fitted = fit_model(recipe, ready, device=torch.device("cpu"), validation_rows=rows)
        figures = fitted.training.records[0]["metrics"]
        assert {f"{key}{removed}" for key in plain for removed in ("", " removed")} <= set(figures)
        assert any("per user" in key for key in figures) == ("per user" in metric)
        if "per user" in metric:
            examples = fitted.phase.examples(rows, grow=fitted.phase.grows)
            scorer = ModelScorer(fitted.model, fitted.phase.items, examples, device=torch.device("cpu"))
            judged = evaluate_per_user(scorer, examples, ks=[1, 5], draws=0)
            assert figures[metric] == judged.seen_removed.values["ndcg@5"]
            assert figures["recall@1 per user"] == judged.seen_included.values["recall@1"]
