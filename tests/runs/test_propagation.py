"""Propagation in whole trainings: which rows make the graph, and that nothing after training needs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from twotower.data import TimeSplit
from twotower.errors import ConfigError
from twotower.models import Tower, TwoTower, build
from twotower.nn import EmbeddingCollection, Propagation
from twotower.recommender import Recommender
from twotower.runs import Recipe, diagnose, explain, load_tables, parse_recipe, reevaluate, run
from twotower.runs.fit_model import FittedModel, OwnParts, UntrainedModel, fit_model, untrained_model
from twotower.runs.load_run import load_run
from twotower.runs.phase import fit_phase
from twotower.runs.propagation import interaction_graph
from twotower.runs.propagation_config import propagated_tables
from twotower.runs.trained_parts import measured_parts, selected_parts
from twotower.spec import ModelSpec
from twotower.training import StepDone

MakeRecipe = Callable[..., Recipe]

PROPAGATED: dict[str, Any] = {"layer_sizes": [], "propagation": {"layers": 2}}
CPU = torch.device("cpu")


def prepared(recipe: Recipe, interactions: pl.DataFrame) -> UntrainedModel:
    tables = load_tables(recipe, interactions=interactions)
    return untrained_model(recipe, tables, tables.split.train)


def fitted(recipe: Recipe, interactions: pl.DataFrame) -> FittedModel:
    return fit_model(recipe, prepared(recipe, interactions), device=CPU)


def weights_of(model: TwoTower) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def graph_of(untrained: UntrainedModel) -> set[tuple[int, int]]:
    propagation = untrained.model.embeddings.propagation
    assert propagation is not None
    return edges(propagation)


def edges(propagation: Propagation) -> set[tuple[int, int]]:
    side = propagation.graph.queries
    of_edge = torch.repeat_interleave(torch.arange(len(side)), side.offsets.diff())
    return set(zip(of_edge.tolist(), side.rows.tolist(), strict=True))


def test_edges_are_the_distinct_pairs_of_the_fit_rows(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    rare = {"kind": "id", "column": "item", "min_count": 9, "embedding": {"dim": 4}}
    recipe = make_recipe(model=PROPAGATED, candidate={"features": [rare]})
    train = interactions.sort("time").head(70)
    users = {name: row for row, name in enumerate(sorted(set(train["user"].to_list())), start=1)}
    counts = train["item"].value_counts()
    frequent = sorted(counts.filter(pl.col("count") >= 9)["item"].to_list())
    assert 0 < len(frequent) < len(counts)
    items = {name: row for row, name in enumerate(frequent, start=1)}
    expected = {
        (users[user], items[item])
        for user, item in zip(train["user"].to_list(), train["item"].to_list(), strict=True)
        if item in items
    }
    assert graph_of(prepared(recipe, interactions)) == expected
    assert len(expected) < len(train)


def test_rows_of_weight_0_are_interactions_too(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    weighed = interactions.with_columns(weight=pl.when(pl.col("item") == 0).then(0.0).otherwise(pl.col("weight")))
    columns = {"columns": {"user": "user", "item": "item", "time": "time", "weight": "weight"}}
    with_weights = graph_of(prepared(make_recipe(model=PROPAGATED, data=columns), weighed))
    assert with_weights == graph_of(prepared(make_recipe(model=PROPAGATED), interactions))


def test_ids_that_share_a_row_share_its_edges(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    hashed = {"kind": "id", "column": "user", "hash_buckets": 2, "embedding": {"dim": 4}}
    untrained = prepared(make_recipe(model=PROPAGATED, query={"features": [hashed]}), interactions)
    assert {user for user, _ in graph_of(untrained)} == {1, 2}


def test_held_out_rows_change_nothing(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(model=PROPAGATED, training={"early_stopping": False})
    ordered = interactions.sort("time")
    held_out = ordered.tail(30).with_columns(user=pl.col("user").reverse(), item=(pl.col("item") + 3) % 7)
    poisoned = pl.concat([ordered.head(70), held_out])
    found = [weights_of(fitted(recipe, table).model) for table in (ordered, poisoned)]
    for name, values in found[0].items():
        assert torch.equal(values, found[1][name]), name


def test_every_phase_has_a_graph_of_its_own(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[set[tuple[int, int]]] = []
    original = EmbeddingCollection.propagate

    def noting(self: EmbeddingCollection, propagation: Propagation) -> None:
        graphs.append(edges(propagation))
        original(self, propagation)

    monkeypatch.setattr(EmbeddingCollection, "propagate", noting)
    run(make_recipe(model=PROPAGATED, refit="all"), tmp_path / "run", interactions=interactions)
    ordered = interactions.sort("time")
    pairs = [len(ordered.head(rows).select("user", "item").unique()) for rows in (70, 80, 100)]
    assert [len(graph) for graph in graphs] == pairs
    assert len(set(pairs)) == 3


def test_without_layers_training_is_to_the_same_bits(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    found = [
        weights_of(fitted(make_recipe(model={"layer_sizes": [4], **more}), interactions).model)
        for more in ({}, {"propagation": {"layers": 0}}, {"propagation": {"layers": 1}})
    ]
    assert all(torch.equal(values, found[1][name]) for name, values in found[0].items())
    assert not any(torch.equal(values, found[2][name]) for name, values in found[0].items())


LOSSES: dict[str, dict[str, Any]] = {
    "in batch": {"kind": "in_batch"},
    "in batch, uncorrected": {"kind": "in_batch", "log_q": False},
    "full": {"kind": "full"},
    "gbce": {"kind": "gbce", "extra_negatives": 3},
    "bilateral": {"kind": "bsl", "temperature": 0.2, "positive_temperature": 0.3},
}


TRAINING = {"epochs": 20, "early_stopping": False, "optimizer": {"kind": "adamw", "learning_rate": 0.05}}


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_through_it(loss: str, normalised: bool, make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    columns = {"columns": {"user": "user", "item": "item", "time": "time", "weight": "weight"}}
    changes: dict[str, Any] = {"loss": LOSSES[loss], "data": columns, "training": TRAINING}
    recipe = make_recipe(model={**PROPAGATED, "l2_normalise": normalised}, **changes)
    losses = [record["loss"] for record in fitted(recipe, interactions).training.records]
    assert losses[-1] < 0.97 * losses[0]


def test_nothing_after_training_needs_the_graph(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    shared = {"dim": 4, "table": "items"}
    towers: dict[str, Any] = {
        "query": {
            "features": [
                {"kind": "id", "column": "user", "embedding": {"dim": 4}},
                {"kind": "history", "embedding": shared},
            ],
            "layer_sizes": [4],
        },
        "candidate": {"features": [{"kind": "id", "column": "item", "embedding": shared}]},
    }
    recipe = make_recipe(model=PROPAGATED, training={"early_stopping": False}, **towers)
    untrained = prepared(recipe, interactions)
    assert propagated_tables(recipe) == ("query/user", "items")
    seen: dict[str, Tensor] = {}
    batch = untrained.batches.batch(0, 0)

    def listen(event: Any) -> None:
        if event.__class__.__name__ == "EpochDone" and event.epoch == recipe.training.epochs:
            untrained.model.eval()
            with torch.no_grad():
                seen["queries"] = untrained.model.encode_queries(batch.queries)
                seen["items"] = untrained.model.encode_candidates(untrained.phase.items)

    model = fit_model(recipe, untrained, device=CPU, listener=listen).model
    run(recipe, tmp_path / "run", interactions=interactions)
    recommender = Recommender.load(tmp_path / "run" / "bundle")
    assert model.embeddings.propagation is None
    with torch.no_grad():
        for found in (model, recommender.model):
            assert torch.equal(found.encode_queries(batch.queries), seen["queries"])
            assert torch.equal(found.encode_candidates(untrained.phase.items), seen["items"])
    assert torch.equal(recommender.item_vectors_ND, seen["items"])
    assert recommender.encode_queries(["nobody"], histories=[[1, 2]]).isfinite().all()
    spec = recommender.model.spec.model_dump(mode="json")
    plain = prepared(make_recipe(model={"layer_sizes": []}, **towers), interactions)
    assert spec == plain.model.spec.model_dump(mode="json")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert reevaluate(tmp_path / "run", interactions=interactions)["metrics"] == result["metrics"]


def test_an_unknown_id_is_worth_the_share_of_layer_0(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    dropping = {"kind": "id", "column": "user", "embedding": {"dim": 4, "id_dropout": 0.0}}
    recipe = make_recipe(
        model={"layer_sizes": [], "propagation": {"layers": 1, "weights": [0.5, 3.0]}}, query={"features": [dropping]}
    )
    untrained = prepared(recipe, interactions)
    before = untrained.model.embeddings.table("query/user").detach().clone()
    model = fit_model(recipe, untrained, device=CPU).model
    assert torch.equal(model.embeddings.table("query/user")[0], before[0] * 0.5)


def test_a_bundle_of_a_model_that_still_propagates_is_refused(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe(model=PROPAGATED)
    run(recipe, tmp_path / "run", interactions=interactions)
    recommender = Recommender.load(tmp_path / "run" / "bundle")
    propagation = prepared(recipe, interactions).model.embeddings.propagation
    assert propagation is not None
    recommender.model.embeddings.propagate(propagation)
    with pytest.raises(ConfigError, match=r"still propagates its own: call model.embeddings.settle\(\)"):
        recommender.save(tmp_path / "again")
    assert not (tmp_path / "again").exists()


class StopError(Exception):
    pass


def test_a_run_that_is_resumed_ends_with_the_same_bits(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe(model=PROPAGATED, refit="train", training={"checkpoint_every_s": 0})
    run(recipe, tmp_path / "whole", interactions=interactions)
    for at in (3, 12):  # in the choice of epochs, and in the training on validation rows as well
        steps = 0

        def stop(phase: str, event: object, at: int = at) -> None:
            nonlocal steps
            steps += isinstance(event, StepDone)
            if steps == at:
                raise StopError

        with pytest.raises(StopError):
            run(recipe, tmp_path / f"cut {at}", interactions=interactions, listener=stop)
        run(recipe, tmp_path / f"cut {at}", interactions=interactions, resume=True)
        first, second = (Recommender.load(tmp_path / name / "bundle").model for name in ("whole", f"cut {at}"))
        for name, values in weights_of(first).items():
            assert torch.equal(values, weights_of(second)[name]), name


def test_a_trained_model_is_put_together_again(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(model=PROPAGATED, refit="train")
    tables = load_tables(recipe, interactions=interactions)
    run(recipe, tmp_path / "run", interactions=interactions)
    loaded = load_run(tmp_path / "run", interactions=interactions)
    untrained = untrained_model(recipe, tables, tables.split.train)
    expected = fit_model(recipe, untrained, device=CPU, validation_rows=tables.split.validation).model
    selected = selected_parts(loaded, OwnParts())
    assert isinstance(selected, UntrainedModel)
    assert selected.model.embeddings.propagation is None
    for name, values in weights_of(expected).items():
        assert torch.equal(values, weights_of(selected.model)[name]), name
    assert measured_parts(loaded, OwnParts()).model is loaded.recommender.model
    assert diagnose(tmp_path / "run", interactions=interactions).findings is not None


class OtherTower(Tower):
    pass


def other(spec: ModelSpec, *, seed: int) -> TwoTower:
    model = build(spec, seed=seed)
    return TwoTower(spec, model.embeddings, OtherTower(spec.query, model.embeddings, model.query.layers), model.candidate)


def own(spec: ModelSpec, *, seed: int) -> TwoTower:
    return build(spec, seed=seed)


def apart(spec: ModelSpec, *, seed: int) -> TwoTower:
    model = build(spec, seed=seed)
    return TwoTower(spec, EmbeddingCollection(spec.tables, generator=torch.Generator()), model.query, model.candidate)


def test_towers_that_it_would_not_reach_are_refused(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(model=PROPAGATED)
    tables = load_tables(recipe, interactions=interactions)
    for builder in (other, apart):
        with pytest.raises(ConfigError, match=r"model\.propagation works on the tables that a Tower of twotower looks up"):
            untrained_model(recipe, tables, tables.split.train, OwnParts(builder))
    assert untrained_model(recipe, tables, tables.split.train, OwnParts(own)).model.embeddings.propagation is not None


def test_propagated_tables_are_dense_and_explained(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(model=PROPAGATED, training={"optimizer": {"kind": "adagrad"}})
    found: Any = explain(recipe, interactions=interactions)
    pairs = len(interactions.sort("time").head(70).select("user", "item").unique())
    assert found["propagation"] == {"tables": ["query/user", "candidate/item"], "layers": 2, "edges": pairs}
    assert {table["why"] for table in found["tables"]} == {"propagation gives every row a gradient"}
    without: Any = explain(make_recipe(), interactions=interactions)
    assert without["propagation"] is None


def blocks(seed: int) -> pl.DataFrame:
    """Users of 8 groups take 6 of the 50 items of their group, all alike: what one user did says little, what all did much."""
    rng = np.random.default_rng(seed)
    rows = [(f"u{user}", f"i{8 * item + user % 8}") for user in range(320) for item in rng.choice(50, 6, replace=False)]
    rng.shuffle(rows)
    return pl.DataFrame(rows, schema=["user", "item"], orient="row").with_row_index("time")


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_what_sparse_users_have_in_common(seed: int) -> None:
    def recall(**model: Any) -> float:
        values: dict[str, Any] = {
            "name": "blocks",
            "device": "cpu",
            "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
            "split": {"kind": "time", "test": 0.2, "validation": 0.1},
            "query": {"features": [{"kind": "id", "column": "user", "embedding": {"dim": 16}}]},
            "candidate": {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 16}}]},
            "model": {"layer_sizes": [], **model},
            "loss": {"kind": "full"},
            "training": {
                "epochs": 40,
                "batch_size": 256,
                "optimizer": {"kind": "adamw", "learning_rate": 0.02},
                "early_stopping": {"metric": "recall@20", "patience": 10},
            },
            "evaluation": {"ks": [20], "draws": 0},
        }
        recipe = parse_recipe(values)
        tables = load_tables(recipe, interactions=blocks(seed))
        untrained = untrained_model(recipe, tables, tables.split.train)
        done = fit_model(recipe, untrained, device=CPU, validation_rows=tables.split.validation)
        return max(float(record["metrics"]["recall@20 removed"]) for record in done.training.records)

    plain, propagated = recall(), recall(propagation={"layers": 3})
    assert propagated > 1.3 * plain
    assert propagated > 0.3  # 20 of the 50 items of a group would be .4


def test_the_graph_is_of_rows_that_exist(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(model=PROPAGATED, split={"kind": "time", "test": 20, "validation": 10})
    assert isinstance(recipe.split, TimeSplit)
    tables = load_tables(recipe, interactions=interactions)
    phase = fit_phase(recipe, tables, tables.split.train[:1])
    graph = interaction_graph(phase, "user", "item", num_users=2, num_items=2)
    assert graph.num_edges == 1
