"""Id dropout trains the row of the unknown, which no example reads, and that row is what an unknown id then gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from twotower.data import Batches, HistoryInput
from twotower.losses import InBatchSoftmax, Temperature
from twotower.models import build
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.types import Column, Ragged

World = Callable[..., Any]
USERS, ITEMS = 12, 8


def make(world: World, *, user: float = 0.0, history: float = 0.0, item: float = 0.0, update: str = "rows") -> Any:
    """The world of these tests with rows that start at 1, so that nothing but dropout reads row 0 of a table."""
    found = world()
    examples = replace(
        found.batches.examples,
        users={"user": torch.arange(1, USERS + 1)},
        history_inputs=(HistoryInput("history", torch.arange(1, ITEMS + 1, dtype=torch.int32)),),
    )
    found.batches = Batches(examples, batch_size=10, catalogue_size=ITEMS, seed=0, candidates="in_batch")
    found.items = {"item": torch.arange(1, ITEMS + 1)}
    found.loss = InBatchSoftmax(Temperature(0.5))
    tables = tuple(
        TableSpec(name=name, vocabulary_size=size + 1, embedding_dim=4, update=update)
        for name, size in (("user", USERS), ("past", ITEMS), ("item", ITEMS))
    )
    query = (
        InputSpec(column="user", width=4, table="user", id_dropout=user),
        InputSpec(column="history", width=4, table="past", pooling="mean", id_dropout=history),
    )
    candidate = (InputSpec(column="item", width=4, table="item", id_dropout=item),)
    spec = ModelSpec(tables=tables, query=TowerSpec(inputs=query, layer_sizes=(6, 4)), candidate=TowerSpec(inputs=candidate))
    found.model = build(spec, seed=0)
    return found


def unknown_rows(found: Any) -> dict[str, torch.Tensor]:
    return {name: found.model.embeddings.table(name)[0].detach().clone() for name in ("user", "past", "item")}


@pytest.mark.parametrize("update", ["dense", "rows"])
@pytest.mark.parametrize("dropped", ["user", "history", "item"])
def test_the_row_of_the_unknown_is_trained_by_the_feature_that_drops(world: World, dropped: str, update: str) -> None:
    found = make(world, update=update, **{dropped: 0.2})
    start = unknown_rows(found)
    found.train({"epochs": 2})
    changed = {name for name, row in unknown_rows(found).items() if not torch.equal(row, start[name])}
    assert changed == {"past" if dropped == "history" else dropped}


def test_without_dropout_the_row_of_the_unknown_stays_at_its_random_start(world: World) -> None:
    found = make(world)
    start = unknown_rows(found)
    found.train({"epochs": 2})
    assert all(torch.equal(row, start[name]) for name, row in unknown_rows(found).items())


def test_an_unknown_id_gets_that_row_in_evaluation(world: World) -> None:
    found = make(world, user=0.5)
    found.train({"epochs": 2})
    queries: dict[str, Column] = {
        "user": torch.tensor([0, 3]),
        "history": Ragged(torch.tensor([2, 4]), torch.tensor([0, 1, 2])),
    }
    before = found.model.encode_queries(queries).detach()
    with torch.no_grad():
        found.model.embeddings.table("user")[0] += 1
    after = found.model.encode_queries(queries).detach()
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_unknown_users_are_served_better_by_a_row_that_was_trained(world: World) -> None:
    """What is left of an unknown user is the history, with which id dropout made the towers work."""

    def rank_of_likes(probability: float) -> float:
        found = make(world, user=probability)
        found.train({"epochs": 30})
        histories = found.batches.examples.histories
        queries = {"user": torch.zeros(USERS, dtype=torch.int64), "history": Ragged(histories.item_rows + 1, histories.offsets)}
        with torch.no_grad():
            scores = found.model.encode_queries(queries) @ found.model.encode_candidates(found.items).T
        likes = (torch.arange(USERS)[:, None] + torch.arange(ITEMS)) % 2 == 0
        return float(scores[likes].mean() - scores[~likes].mean())

    assert rank_of_likes(0.3) > 1.5 * rank_of_likes(0.0)
