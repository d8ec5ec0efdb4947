from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from twotower.diagnosis import BatchNegatives, NotMade, SoftmaxScale
from twotower.runs import Recipe, load_run, load_tables, run
from twotower.runs.fit_model import OwnParts, UntrainedModel, build_model
from twotower.runs.loss_evidence import batch_negatives, softmax_scale, train_loss
from twotower.runs.phase import fit_phase
from twotower.runs.probe import make_probe
from twotower.runs.trained_parts import selected_parts

MakeRecipe = Callable[..., Recipe]


def parts_of(recipe: Recipe, interactions: pl.DataFrame) -> UntrainedModel:
    tables = load_tables(recipe, interactions=interactions)
    parts = build_model(recipe, fit_phase(recipe, tables, tables.split.train))
    parts.model.eval()
    return parts


def looked_at(recipe: Recipe, interactions: pl.DataFrame) -> BatchNegatives:
    found = batch_negatives(recipe, parts_of(recipe, interactions))
    assert isinstance(found, BatchNegatives)
    return found


@pytest.mark.parametrize("masks_own", [True, False])
@pytest.mark.parametrize("masks_known", [True, False])
def test_negatives_are_those_that_a_naive_count_finds(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, masks_own: bool, masks_known: bool
) -> None:
    loss = {"kind": "in_batch", "mask_accidental_hits": masks_own, "mask_known_positives": masks_known}
    recipe = make_recipe(loss=loss, training={"batch_size": 80})
    parts = parts_of(recipe, interactions)
    examples = parts.phase.train
    pairs = list(zip(examples.user_rows.tolist(), examples.item_rows.tolist(), strict=True))
    order = parts.batches.order(0).tolist()  # one batch holds all 70 rows
    own, known, negatives = [], [], []
    for user, item in (pairs[row] for row in order):
        others = [rival for _, rival in (pairs[row] for row in order)]
        others.remove(item)
        if masks_own:
            others = [rival for rival in others if rival != item]
        if masks_known:
            others = [rival for rival in others if rival == item or (user, rival) not in pairs]
        own.append(others.count(item))
        negatives.append(len(others))
        known.append(sum(rival != item and (user, rival) in pairs for rival in others) / max(1, len(others)))
    found = looked_at(recipe, interactions)
    assert found.queries == len(order) == 70
    assert found.own_copies == pytest.approx(sum(own) / 70)
    assert found.own_nats == pytest.approx(sum(math.log(1 + copies) for copies in own) / 70)
    assert found.competitors == pytest.approx(sum(negatives) / 70)
    assert found.known_share == pytest.approx(sum(known) / 70)
    assert not found.whole_catalogue


def test_in_the_catalogue_nothing_is_there_twice(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    found = looked_at(make_recipe(loss={"kind": "full"}), interactions)
    assert found.whole_catalogue
    assert found.own_copies == 0
    assert found.competitors == 6  # of the seven items of the train rows


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_per_row_and_that_of_zeros_the_logarithm(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, reduction: str
) -> None:
    loss = {"kind": "full", "reduction": reduction}
    parts = parts_of(make_recipe(loss=loss, training={"batch_size": 100}), interactions)
    with torch.no_grad():
        for parameter in parts.model.parameters():
            parameter.mul_(30)
        batch = parts.batches.batch(0, 0)
        scores = parts.model.encode_queries(batch.queries) @ parts.model.encode_candidates(parts.phase.items).T
    found = train_loss(parts, first=2.5)
    assert found.measured == pytest.approx(float(torch.nn.functional.cross_entropy(scores, batch.positives)), rel=1e-5)
    assert found.uninformed == pytest.approx(math.log(7), rel=1e-5)
    assert (found.first, found.batches) == (2.5, 1)


def test_masked_rivals_are_not_in_the_logarithm(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    loss = {"kind": "full", "mask_known_positives": True}
    parts = parts_of(make_recipe(loss=loss, training={"batch_size": 100}), interactions)
    examples = parts.phase.train
    pairs = list(zip(examples.user_rows.tolist(), examples.item_rows.tolist(), strict=True))
    rivals = [7 - len({item for other, item in pairs if other == user}) + 1 for user, _ in pairs]
    wanted = sum(math.log(count) for count in rivals) / len(rivals)
    assert train_loss(parts, first=None).uninformed == pytest.approx(wanted, rel=1e-5)


def test_the_curve_is_the_loss_at_other_temperatures(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    loss: dict[str, Any] = {"kind": "full", "temperature": 0.5}
    recipe = make_recipe(loss=loss, training={"batch_size": 100})
    parts = parts_of(recipe, interactions)
    with torch.no_grad():
        for parameter in parts.model.parameters():
            parameter.mul_(30)  # so that the temperature matters
        batch = parts.batches.batch(0, 0)
        scores = parts.model.encode_queries(batch.queries) @ parts.model.encode_candidates(parts.phase.items).T
    found = softmax_scale(recipe, parts, None)
    assert isinstance(found, SoftmaxScale)
    for factor, value in zip(found.factors, found.train, strict=True):
        wanted = torch.nn.functional.cross_entropy(scores / (0.5 * factor), batch.positives)
        assert value == pytest.approx(float(wanted), rel=1e-4)
    probabilities = torch.softmax(scores.double() / 0.5, dim=1)
    assert found.confidence == pytest.approx(float(probabilities.max(1).values.mean()), rel=1e-5)
    entropy = -(probabilities * probabilities.log()).sum(1).mean() / math.log(7)
    assert found.entropy == pytest.approx(float(entropy), rel=1e-5)


def test_held_out_rows_of_weight_0_take_no_part(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    """Of the ten validation rows in time all weigh nothing, or all but two."""

    def held_out(last: int) -> tuple[float, ...] | None:
        of_validation = (pl.col("time") >= 1_600_000_000 + 60 * 70) & (pl.col("time") < 1_600_000_000 + 60 * last)
        frame = interactions.with_columns(pl.when(of_validation).then(0.0).otherwise(1.0).alias("weight"))
        recipe = make_recipe(data={"columns": {"weight": "weight"}}, training={"batch_size": 2})
        loaded = load_run(run(recipe, tmp_path / f"run-{last}", interactions=frame).folder, interactions=frame)
        parts = selected_parts(loaded, OwnParts())
        assert isinstance(parts, UntrainedModel)
        probe = make_probe(loaded, parts.model, parts.phase, loaded.tables.split.validation, of_test=False)
        found = softmax_scale(recipe, parts, probe)
        assert isinstance(found, SoftmaxScale)
        return found.held_out

    assert held_out(80) is None
    some = held_out(78)
    assert some is not None
    assert all(math.isfinite(value) for value in some)


def test_of_gbce_the_draws_compete_and_there_is_no_temperature_to_judge(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    recipe = make_recipe(loss={"kind": "gbce", "extra_negatives": 6}, training={"batch_size": 80})
    parts = parts_of(recipe, interactions)
    found, batch = looked_at(recipe, interactions), parts.batches.batch(0, 0)
    assert batch.counts is not None
    assert found.competitors == pytest.approx(float((6 - batch.counts[batch.positives]).mean()))
    assert (found.own_copies, found.whole_catalogue) == (0, False)
    said = softmax_scale(recipe, parts, None)
    assert isinstance(said, NotMade)
    assert "no softmax" in said.reason
    beta = 1 - 0.75 * (1 - 6 / 7)
    drawn = 6 - batch.counts[batch.positives]
    wanted = float(((drawn + beta) / (drawn + 1)).mean()) * math.log(2)
    assert train_loss(parts, first=None).uninformed == pytest.approx(wanted, rel=1e-5)


def test_with_a_sketch_the_loss_is_judged_by_what_it_comes_to(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    sketch, held = (
        parts_of(make_recipe(loss={"kind": "in_batch", **loss}), interactions) for loss in ({"sketch": {"width": 4}}, {})
    )
    assert train_loss(sketch, first=None) == train_loss(held, first=None)
    assert sketch.streamed_log_q is not None
    assert sketch.streamed_log_q.sketch.total == 0  # to look is not to train
