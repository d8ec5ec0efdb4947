"""Steps by several processes are the steps of one: loss, gradients and weights, for every loss, feature and way to update."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.distributed.in_ranks import in_ranks
from torch import Tensor

from twotower.distributed import ALONE, Ranks
from twotower.runs import Recipe
from twotower.runs.fit_model import UntrainedModel, untrained_model
from twotower.runs.tables import load_tables
from twotower.runs.tasks import objective
from twotower.training import TrainedParameters, over_ranks, train
from twotower.training.step import batch_losses

USERS, ITEMS, ROWS = 11, 9, 83
ID: dict[str, Any] = {"kind": "id", "column": "user", "embedding": {"dim": 6, "id_dropout": 0.0}}
HISTORY = {"kind": "history", "embedding": {"dim": 6, "table": "item", "id_dropout": 0.0}}
ITEM: dict[str, Any] = {"kind": "id", "column": "item", "embedding": {"dim": 6, "table": "item", "id_dropout": 0.0}}

# gradients that are 0 but for rounding have no sign: AdamW would follow it
OPTIMIZER = {"kind": "adamw", "learning_rate": 0.01, "epsilon": 0.01}


def interactions() -> pl.DataFrame:
    draw = np.random.default_rng(3)
    items = np.minimum(draw.zipf(1.5, ROWS) - 1, ITEMS - 1)
    return pl.DataFrame(
        {
            "user": [f"u{row}" for row in draw.integers(USERS, size=ROWS)],
            "item": [f"i{row}" for row in items],
            "when": np.arange(ROWS),
            "stars": [None if row % 5 == 0 else float(row % 4) for row in range(ROWS)],
            "weight": [0.0 if row < 40 and row % 3 == 0 else 0.5 + row % 4 for row in range(ROWS)],
        }
    )


def recipe(batch_size: int = 16, update: str = "dense", **changes: Any) -> Recipe:
    def updated(feature: dict[str, Any]) -> dict[str, Any]:
        return {**feature, "embedding": {**feature["embedding"], "update": update}}

    values: dict[str, Any] = {
        "name": "ranks",
        "seed": 5,
        "data": {"interactions": {"path": "none.csv"}, "columns": {"user": "user", "item": "item", "time": "when"}},
        "split": {"kind": "time", "test": 0.1},
        "query": {"features": [updated(ID), HISTORY]},
        "candidate": {"features": [updated(ITEM)]},
        "model": {"layer_sizes": [7, 5]},
        "training": {
            "batch_size": batch_size,
            "epochs": 2,
            "early_stopping": False,
            "optimizer": OPTIMIZER,
        },
        "evaluation": {"ks": [2]},
    }
    for section, of in changes.items():
        values[section] = {**values[section], **of} if isinstance(of, dict) and section in values else of
    return Recipe.model_validate(values)


TRANSFORMER = {"kind": "transformer", "blocks": 1, "dropout": 0.0}
SEQUENCE: dict[str, Any] = {
    "kind": "sequence",
    "max_length": 5,
    "embedding": {
        "dim": 6,
        "table": "item",
        "id_dropout": 0.0,
        "encoder": TRANSFORMER,
    },
}
CANDIDATES = {
    "kind": "sequence",
    "max_length": 5,
    "items": "candidate",
    "embedding": {"encoder": {"kind": "gru", "dropout": 0.0}},
}
CASES: dict[str, dict[str, Any]] = {
    "in batch": {"loss": {"kind": "in_batch"}},
    "in batch, not corrected": {"loss": {"kind": "in_batch", "log_q": False}},
    "corrected log q": {"loss": {"kind": "in_batch", "log_q": "corrected"}},
    "sketch": {"loss": {"kind": "in_batch", "sketch": {"width": 16}}},
    "copies compete": {"loss": {"kind": "in_batch", "mask_accidental_hits": False}},
    "mixed and queued": {"loss": {"kind": "in_batch", "extra_negatives": 4, "queue_batches": 1}},
    "masked": {"loss": {"kind": "in_batch", "mask_known_positives": True, "temperature": 0.3, "learn_temperature": True}},
    "hard": {"loss": {"kind": "in_batch", "hard_negatives": 2}},
    "summed": {"loss": {"kind": "in_batch", "reduction": "sum"}},
    "full": {"loss": {"kind": "full"}},
    "full, masked": {"loss": {"kind": "full", "mask_known_positives": True}},
    "gbce": {"loss": {"kind": "gbce", "extra_negatives": 3}},
    "gbce of all": {"loss": {"kind": "gbce"}},
    "bsl": {"loss": {"kind": "bsl", "temperature": 0.4, "positive_temperature": 0.9}, "model": {"l2_normalise": True}},
    "bsl, summed": {"loss": {"kind": "bsl", "temperature": 0.4, "reduction": "sum"}, "model": {"l2_normalise": True}},
    "rows": {"update": "rows", "loss": {"kind": "in_batch"}},
    "clipped": {"update": "rows", "training": {"clip_norm": 0.01}},
    "adagrad": {"update": "rows", "training": {"optimizer": {"kind": "adagrad"}}},
    "row-wise adagrad": {"update": "rows", "training": {"optimizer": {"kind": "rowwise_adagrad"}}},
    "one batch for all": {"batch_size": 1000},
    "fewer rows than ranks": {"batch_size": 3, "loss": {"kind": "in_batch", "extra_negatives": 2}},
    "a transformer": {"query": {"features": [SEQUENCE]}},
    "items of histories": {"query": {"features": [CANDIDATES]}},
    "items of histories, full": {"query": {"features": [CANDIDATES]}, "loss": {"kind": "full"}},
    "propagated": {"query": {"features": [ID]}, "model": {"layer_sizes": [], "propagation": {"layers": 2}}},
    "tasks": {"tasks": [{"name": "stars", "column": "stars", "kind": "regression"}]},
    "tasks alone": {  # of so few rows that a rank has no outcome, and nobody needs its candidates for a retrieval loss
        "tasks": [{"name": "stars", "column": "stars", "kind": "regression"}],
        "loss": {"weight": 0},
        "batch_size": 3,
    },
    "tasks, summed": {"tasks": [{"name": "stars", "column": "stars", "kind": "regression"}], "loss": {"reduction": "sum"}},
}
WEIGHED = ("in batch", "full", "bsl", "tasks", "gbce", "fewer rows than ranks")


def prepared(name: str, ranks: Ranks, weighed: bool) -> tuple[Recipe, UntrainedModel]:
    of = recipe(**CASES[name])
    if weighed:
        columns = of.data.columns.model_copy(update={"weight": "weight"})
        of = of.model_copy(update={"data": of.data.model_copy(update={"columns": columns})})
    tables = load_tables(of, interactions=interactions())
    untrained = untrained_model(of, tables, tables.split.train)
    untrained.batches.share = None if ranks.size == 1 else ranks.share
    return of, untrained


def first_step(ranks: Ranks, name: str, weighed: bool) -> tuple[float, dict[str, Tensor]]:
    return step_of(*prepared(name, ranks, weighed), ranks)


def step_of(of: Recipe, untrained: UntrainedModel, ranks: Ranks) -> tuple[float, dict[str, Tensor]]:
    """The loss of the last and uneven batch of an epoch, and its gradients, before any update."""
    untrained.model.train()
    trained = TrainedParameters(untrained.model, untrained.loss, of.training.optimizer)
    values = batch_losses(
        untrained.model,
        untrained.loss,
        untrained.batches.batch(0, len(untrained.batches) - 1),
        untrained.phase.items,
        log_q_N=untrained.log_q_N,
        device=torch.device("cpu"),
        objective=objective(of),
        streamed_log_q=untrained.streamed_log_q,
        ranks=ranks,
    )
    total = objective(of).total(values)
    total.backward()  # type: ignore[no-untyped-call]
    over_ranks.sum_gradients([parameter for _, parameter in trained.named], ranks)
    gradients = {
        key: parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        for key, parameter in trained.named
        if parameter.grad is not None
    }
    return float(ranks.sum_(total.detach().clone())), gradients


def trained_weights(ranks: Ranks, name: str, weighed: bool) -> tuple[list[float], dict[str, Tensor]]:
    of, untrained = prepared(name, ranks, weighed)
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
    weights = {**untrained.model.state_dict(), **{f"loss.{key}": value for key, value in untrained.loss.state_dict().items()}}
    return [record["loss"] for record in result.records], weights


def both(ranks: Ranks, cases: list[tuple[str, bool]]) -> list[Any]:
    return [(first_step(ranks, *case), trained_weights(ranks, *case)) for case in cases]


ALL = [*((name, False) for name in CASES), *((name, True) for name in WEIGHED)]


@functools.cache
def alone() -> list[Any]:
    return both(ALONE, ALL)


def close(found: dict[str, Tensor], expected: dict[str, Tensor], *, rtol: float, atol: float) -> list[str]:
    """Names of what differs."""
    assert found.keys() == expected.keys()
    return [key for key, values in expected.items() if not torch.allclose(found[key], values, rtol=rtol, atol=atol)]


@pytest.mark.parametrize("size", [2, 4])
def test_many_ranks_are_one(size: int) -> None:
    found = in_ranks(both, size, ALL, timeout_s=400)
    for place, (case, expected) in enumerate(zip(ALL, alone(), strict=True)):
        (loss, gradients), (losses, weights) = expected
        assert math.isfinite(loss)
        assert gradients
        for rank in range(size):
            (its_loss, its_gradients), (its_losses, its_weights) = found[rank][place]
            assert its_loss == pytest.approx(loss, rel=1e-5), case
            assert its_losses == pytest.approx(losses, rel=1e-5), case
            assert close(its_gradients, gradients, rtol=1e-5, atol=1e-6) == [], case
            assert close(its_weights, weights, rtol=1e-3, atol=2e-5) == [], case
            assert all(torch.equal(values, found[0][place][1][1][key]) for key, values in its_weights.items()), case


def _summed_twice(ranks: Ranks) -> dict[str, Tensor]:
    gather = Ranks.gather

    def gathered(self: Ranks, part: Tensor, lengths: list[int] | None = None) -> Tensor:
        if part.requires_grad:  # the same vectors, and a gradient that is as many times too large as there are ranks
            part = part * self.size - part.detach() * (self.size - 1)
        return gather(self, part, lengths)

    Ranks.gather = gathered  # type: ignore[method-assign, assignment]
    return first_step(ranks, "in batch", False)[1]


def test_a_gradient_that_is_too_large_by_the_number_of_ranks_is_found() -> None:
    expected = alone()[0][0][1]
    right = in_ranks(first_step, 2, "in batch", False)[0][1]
    wrong = in_ranks(_summed_twice, 2)[0]
    assert close(right, expected, rtol=1e-5, atol=1e-6) == []
    assert "model.candidate.layers" in " ".join(close(wrong, expected, rtol=1e-5, atol=1e-6))


def _with_dropout(ranks: Ranks) -> tuple[list[float], dict[str, Tensor]]:
    dropped = {**SEQUENCE, "embedding": {**SEQUENCE["embedding"], "encoder": {**TRANSFORMER, "dropout": 0.5}}}
    CASES["dropped"] = {"query": {"features": [dropped]}}
    return trained_weights(ranks, "dropped", False)


def test_ranks_drop_for_themselves_and_stay_alike() -> None:
    one, other = in_ranks(_with_dropout, 2)
    assert one[0] == other[0]
    assert close(one[1], other[1], rtol=0, atol=0) == []
    assert close(one[1], _with_dropout(ALONE)[1], rtol=1e-3, atol=2e-5)


def _shares(ranks: Ranks) -> list[list[int]]:
    _, untrained = prepared("mixed and queued", ranks, False)
    batches = untrained.batches
    return [batches.batch(epoch, place).rows.tolist() for epoch in range(2) for place in range(len(batches))]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_order_of_rows_does_not_depend_on_how_many_ranks_there_are(size: int) -> None:
    found = in_ranks(_shares, size)
    together = [[row for rank in found for row in rank[place]] for place in range(len(found[0]))]
    assert together == _shares(ALONE)
