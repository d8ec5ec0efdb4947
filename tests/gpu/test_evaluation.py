"""Ranks that are counted on a GPU are those that the same vectors have when they are counted one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cuda_device import CUDA, ON_CUDA, float32_products

from twotower.data import Examples, HistoryInput, build_histories
from twotower.evaluation import ModelScorer, evaluate
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec

pytestmark = ON_CUDA

USERS, ITEMS, ROWS, DIM = 60, 700, 900, 8


def world(*, whole_numbers: bool) -> tuple[TwoTower, dict[str, torch.Tensor], Examples]:
    """A model of users, items and histories; of whole numbers every sum is exact, and ties are many."""
    tables = tuple(
        TableSpec(name=name, vocabulary_size=size, embedding_dim=DIM, init_scale=1.0)
        for name, size in (("user", USERS), ("item", ITEMS))
    )
    history = InputSpec(column="history", width=DIM, table="item", pooling="sum")
    inputs = (history,) if whole_numbers else (InputSpec(column="user", width=DIM, table="user"), history)
    query = TowerSpec(inputs=inputs, layer_sizes=() if whole_numbers else (DIM,))
    candidate = TowerSpec(inputs=(InputSpec(column="item", width=DIM, table="item"),))
    model = build(ModelSpec(tables=tables, query=query, candidate=candidate), seed=3).eval()
    if whole_numbers:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=torch.Generator().manual_seed(1)))
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    histories, before = build_histories(users, items, np.arange(ROWS), num_users=USERS)
    examples = Examples(
        user_rows=torch.from_numpy(users),
        item_rows=torch.from_numpy(items),
        users={"user": torch.arange(USERS)},
        context={},
        histories=histories,
        before=before,
        seen_before=True,
        history_inputs=(HistoryInput("history", torch.arange(ITEMS, dtype=torch.int32)),),
    )
    return model, {"item": torch.arange(ITEMS)}, examples


def counted(queries_QD: torch.Tensor, items_ND: torch.Tensor, examples: Examples, *, removed: bool) -> list[list[int]]:
    """Items above each row's own and tied with it."""
    scores_QN = (queries_QD.cpu().double() @ items_ND.cpu().double().T).float()
    own_Q = examples.item_rows.long()
    seen = examples.seen(torch.arange(len(own_Q)))
    found = []
    for row, own in enumerate(own_Q.tolist()):
        competes = torch.ones(ITEMS, dtype=torch.bool)
        if removed:
            competes[seen.values[seen.offsets[row] : seen.offsets[row + 1]].long()] = False
            competes[own] = True
        above, tied = scores_QN[row] > scores_QN[row, own], scores_QN[row] == scores_QN[row, own]
        found.append([int((above & competes).sum()), int((tied & competes).sum())])
    return found


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("whole_numbers", [False, True], ids=["real", "ties"])
def test_ranks_are_those_of_counting(whole_numbers: bool, precision: str) -> None:
    model, items, examples = world(whole_numbers=whole_numbers)
    scorer = ModelScorer(model.to(CUDA), items, examples, device=CUDA)
    columns = {name: column.to(CUDA) for name, column in examples.queries(torch.arange(ROWS), training=False).items()}
    with float32_products(precision):
        found: Any = evaluate(scorer, examples, ks=(1, 10), draws=0)
        with torch.no_grad():
            queries_QD = model.encode_queries(columns)
    assert queries_QD.device.type == scorer.vectors_ND.device.type == CUDA.type
    for removed, ranks in ((False, found.ranks.seen_included), (True, found.ranks.seen_removed)):
        expected = counted(queries_QD, scorer.vectors_ND, examples, removed=removed)
        assert np.stack([ranks.above, ranks.tied], axis=1).tolist() == expected


def test_figures_are_those_of_the_cpu() -> None:
    figures = []
    for device in (torch.device("cpu"), CUDA):
        model, items, examples = world(whole_numbers=True)
        scorer = ModelScorer(model.to(device), items, examples, device=device)
        found = evaluate(scorer, examples, ks=(1, 10), draws=0)
        figures.append([dict(found.seen_included.values), dict(found.seen_removed.values)])
    assert figures[0] == figures[1]
