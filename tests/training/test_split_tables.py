"""Tables that ranks share learn what the tables of one process learn: every loss, uneven batches, weights and histories."""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest
import torch
from tests.distributed.in_ranks import in_ranks, preload
from tests.training.test_over_ranks import CANDIDATES, CASES, ID, SEQUENCE, close, interactions, step_of
from tests.training.test_over_ranks import recipe as toy
from torch import Tensor

from twotower.distributed import ALONE, Ranks, ShardedTables, sharded_tables, table_exchange
from twotower.errors import ConfigError
from twotower.models import state_of
from twotower.optim import rowwise_adagrad_numbers
from twotower.runs import Recipe
from twotower.runs.fit_model import UntrainedModel, untrained_model
from twotower.runs.tables import load_tables
from twotower.runs.tasks import objective
from twotower.training import train

preload("tests.distributed.with_torchrec")

# a large first accumulator: what is learned is then proportional to the gradient, also to one that is too large
OPTIMIZER = {"kind": "adamw", "learning_rate": 0.01, "epsilon": 0.01, "sparse_learning_rate": 0.5, "initial_accumulator": 1.0}
NAMES = (
    "in batch",
    "corrected log q",
    "sketch",
    "mixed and queued",
    "masked",
    "hard",
    "summed",
    "full",
    "gbce",
    "bsl",
    "one batch for all",
    "fewer rows than ranks",
    "a transformer",
    "items of histories",
    "items of histories, full",
    "tasks",
    "no layers",
)
OWN: dict[str, dict[str, Any]] = {"no layers": {"query": {"features": [ID]}, "model": {"layer_sizes": []}}}


def recipe(name: str, weighed: bool = False, **training: Any) -> Recipe:
    """A case of steps over ranks, its tables 8 wide and split by rows."""
    values = toy(**{**CASES, **OWN}[name]).model_dump(mode="json")
    values["training"] |= {"sharding": "row_wise", "optimizer": OPTIMIZER, **training}
    if weighed:
        values["data"]["columns"]["weight"] = "weight"
    return Recipe.model_validate(_wider(values))


def _wider(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: 8 if key == "dim" else "auto" if key == "update" else _wider(value) for key, value in values.items()}
    return [_wider(value) for value in values] if isinstance(values, list | tuple) else values


def prepared(of: Recipe, ranks: Ranks) -> UntrainedModel:
    tables = load_tables(of, interactions=interactions())
    return untrained_model(of, tables, tables.split.train, ranks=ranks)


def weights(untrained: UntrainedModel, ranks: Ranks) -> dict[str, Tensor]:
    """All of them by name, shared tables whole."""
    model = untrained.model
    found = {f"model.{key}": value.clone() for key, value in state_of(model).items()}
    found |= {f"loss.{key}": value.clone() for key, value in state_of(untrained.loss).items()}
    distant = model.embeddings.distant
    if distant is None:
        return found
    assert isinstance(distant, ShardedTables)
    for parameter, name in model.embeddings.distant_parameter_names().items():
        spec = distant.specs[name]
        whole = torch.zeros(spec.vocabulary_size, spec.embedding_dim)
        for shard in distant.shards():
            if shard.table == name:
                whole[shard.rows.start : shard.rows.stop] = shard.weights
        found[f"model.embeddings.{parameter}"] = ranks.sum_(whole)
    return found


def trained(ranks: Ranks, name: str, weighed: bool) -> tuple[list[float], dict[str, Tensor], dict[str, Tensor]]:
    of = recipe(name, weighed)
    untrained = prepared(of, ranks)
    tables = untrained.model.embeddings.distant
    assert (tables is not None) == (ranks.size > 1)
    assert all(table.update == "rows" for table in untrained.model.spec.tables)
    before = weights(untrained, ranks)
    result = train(
        untrained.model,
        untrained.loss,
        untrained.batches,
        untrained.phase.items,
        config=of.training.model_copy(update={"early_stopping": None}),
        seed=of.seed,
        device=torch.device("cpu"),
        log_q_N=untrained.log_q_N,
        streamed_log_q=untrained.streamed_log_q,
        objective=objective(of),
        ranks=ranks,
    )
    return [record["loss"] for record in result.records], before, weights(untrained, ranks)


def first_step(ranks: Ranks, name: str, weighed: bool) -> tuple[float, dict[str, Tensor]]:
    """The loss and all gradients of a step; those of shared tables from what their update did in the backward pass."""
    of = recipe(name, weighed)
    untrained = prepared(of, ranks)
    before = weights(untrained, ranks)
    loss, gradients = step_of(of, untrained, ranks)
    tables = untrained.model.embeddings.distant
    if not isinstance(tables, ShardedTables):
        return loss, gradients
    rate, _, epsilon = rowwise_adagrad_numbers(of.training.optimizer)
    after = weights(untrained, ranks)
    for parameter, name in untrained.model.embeddings.distant_parameter_names().items():
        roots = torch.zeros(tables.specs[name].vocabulary_size)
        for shard in tables.shards():
            if shard.table == name:
                roots[shard.rows.start : shard.rows.stop] = shard.accumulators.sqrt()
        key = f"model.embeddings.{parameter}"
        gradients[key] = (before[key] - after[key]) * (ranks.sum_(roots)[:, None] + epsilon) / rate
    return loss, gradients


def every(ranks: Ranks, cases: list[tuple[str, bool]]) -> list[Any]:
    return [(*trained(ranks, *case), *first_step(ranks, *case)) for case in cases]


ALL = [*((name, False) for name in NAMES), ("in batch", True), ("fewer rows than ranks", True), ("tasks", True)]


@functools.cache
def alone() -> list[Any]:
    return every(ALONE, ALL)


def differing(found: Any, expected: Any) -> list[str]:
    """Names of weights that started or moved differently."""
    (_, before, after, *_), (_, expected_before, expected_after, *_) = found, expected
    assert before.keys() == expected_before.keys()
    names = []
    for name, start in expected_before.items():
        moved, expected_moved = after[name] - before[name], expected_after[name] - start
        near = torch.allclose(moved, expected_moved, rtol=1e-3, atol=2e-5 * max(1.0, float(expected_moved.abs().max())))
        if not near or not torch.equal(before[name], start):
            names.append(name)
    return names


@pytest.mark.parametrize("size", [2, 4])
def test_shared_tables_learn_what_those_of_one_process_do(size: int) -> None:
    found = in_ranks(every, size, ALL, timeout_s=400)
    for place, (case, expected) in enumerate(zip(ALL, alone(), strict=True)):
        assert max(float((expected[2][name] - start).abs().max()) for name, start in expected[1].items()) > 1e-3, case
        for rank in range(size):
            assert found[rank][place][0] == pytest.approx(expected[0], rel=1e-5), case
            assert differing(found[rank][place], expected) == [], case
            assert found[rank][place][3] == pytest.approx(expected[3], rel=1e-5), case
            assert close(found[rank][place][4], expected[4], rtol=1e-5, atol=1e-6) == [], case


def _too_large(ranks: Ranks) -> Any:
    rows = table_exchange.TableExchange.rows

    def scaled(self: Any, ids: Any) -> dict[str, Tensor]:
        # the same rows, and gradients that are as many times too large as there are ranks
        return {name: each * ranks.size - each.detach() * (ranks.size - 1) for name, each in rows(self, ids).items()}

    table_exchange.TableExchange.rows = scaled  # type: ignore[method-assign]
    return (*trained(ranks, "in batch", False), *first_step(ranks, "in batch", False))


def test_gradients_of_shared_tables_that_are_too_large_by_the_number_of_ranks_are_found() -> None:
    found = in_ranks(_too_large, 2)[0]
    assert {name for name in close(found[4], alone()[0][4], rtol=1e-5, atol=1e-6) if "embeddings" in name} == {
        "model.embeddings.table:item",
        "model.embeddings.table:query/user",
    }
    wrong = differing(found, alone()[0])
    assert {name for name in wrong if "embeddings" in name} == {
        "model.embeddings.table:item",
        "model.embeddings.table:query/user",
    }


def _dies_in_the_backward_pass(ranks: Ranks) -> None:
    """The others learn of it in the exchange of TorchRec that is under way."""
    if ranks.rank == 1:
        sharded_tables._Together.backward = staticmethod(lambda *_: os._exit(0))  # type: ignore[assignment]
    trained(ranks, "in batch", False)


def test_a_rank_that_dies_in_the_backward_pass_is_said_to_be_lost() -> None:
    with pytest.raises(AssertionError, match="RankLostError: rank 0 of 2 has lost the others: one of them died"):
        in_ranks(_dies_in_the_backward_pass, 2)


def test_what_can_not_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match="row-wise Adagrad, and came adagrad"):
        recipe("in batch", optimizer={"kind": "adagrad"})
    with pytest.raises(ValueError, match="row-wise Adagrad, and came lazy_adam"):
        recipe("in batch", optimizer={"kind": "adamw", "sparse_kind": "lazy_adam"})
    with pytest.raises(ValueError, match="clip_norm needs all gradients at once"):
        recipe("in batch", clip_norm=1.0)
    with pytest.raises(ValueError, match="sharding"):
        recipe("in batch", sharding="rows")


def _narrow(ranks: Ranks) -> str:
    values = recipe("in batch").model_dump(mode="json")
    for feature in (*values["query"]["features"], *values["candidate"]["features"]):
        feature["embedding"]["dim"] = 6
    of = Recipe.model_validate(values)
    with pytest.raises(ConfigError) as fault:
        prepared(of, ranks)
    return str(fault.value)


def test_a_table_of_another_width_is_refused_on_all_ranks() -> None:
    assert all("is 6 wide: sharded tables must be a multiple of 4 wide" in said for said in in_ranks(_narrow, 2))


def _dense(ranks: Ranks) -> list[str]:
    values = recipe("in batch").model_dump(mode="json")
    values["query"]["features"][0]["embedding"]["update"] = "dense"
    distant = prepared(Recipe.model_validate(values), ranks).model.embeddings.distant
    assert distant is not None
    return list(distant.specs)


def test_a_table_that_the_recipe_updates_densely_stays_local() -> None:
    assert in_ranks(_dense, 2) == [["item"], ["item"]]


def test_auto_leaves_small_tables_where_they_are() -> None:
    values = recipe("in batch").model_dump(mode="json")
    values["training"]["sharding"] = "auto"
    assert in_ranks(_none_split, 2, Recipe.model_validate(values)) == [True, True]


def _none_split(ranks: Ranks, of: Recipe) -> bool:
    return prepared(of, ranks).model.embeddings.distant is None


def test_a_recipe_that_splits_nothing_says_nothing_of_it() -> None:
    assert "sharding" not in toy().model_dump(mode="json")["training"]
    assert recipe("in batch").model_dump(mode="json")["training"]["sharding"] == "row_wise"
    assert SEQUENCE["kind"] == CANDIDATES["kind"]
