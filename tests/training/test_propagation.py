"""Training through a propagation: exact gradients, once a step, once a validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.bundle import read_tensors
from twotower.nn import InteractionGraph, Propagation
from twotower.training import Checkpoints
from twotower.training.step import batch_loss

World = Callable[..., Any]
CPU = torch.device("cpu")
USERS, ITEMS, WEIGHTS = 12, 8, (0.5, 0.3, 0.2)


def operator() -> Tensor:
    """The matrix of the world's graph: even users like even items, odd ones odd ones; the first user and item are unknown."""
    adjacency = np.zeros((USERS + ITEMS,) * 2)
    likes = (np.arange(USERS)[:, None] + np.arange(ITEMS)[None, :]) % 2 == 0
    likes[0], likes[:, 0] = False, False
    adjacency[:USERS, USERS:], adjacency[USERS:, :USERS] = likes, likes.T
    root = np.diag([0 if degree == 0 else degree**-0.5 for degree in adjacency.sum(1)])
    step = root @ adjacency @ root
    return torch.from_numpy(WEIGHTS[0] * np.eye(USERS + ITEMS) + WEIGHTS[1] * step + WEIGHTS[2] * step @ step).float()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    original = Propagation.__call__

    def counting(self: Propagation, queries: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        counted.append(len(queries))
        return original(self, queries, candidates)

    monkeypatch.setattr(Propagation, "__call__", counting)
    return counted


def test_the_gradient_of_a_batch_is_that_of_the_dense_matrix(world: World) -> None:
    ours, plain = world(propagation=WEIGHTS), world()  # the query pools items of the same table as well
    batch = ours.batches.batch(0, 0)
    loss = batch_loss(ours.model, ours.loss, batch, ours.items, log_q_N=None, device=CPU)
    loss.backward()  # type: ignore[no-untyped-call]
    tables = [plain.model.embeddings.table(name) for name in ("user", "item")]
    both = torch.cat([table.detach() for table in tables]).requires_grad_()
    propagated = operator() @ both
    with torch.no_grad():
        tables[0].copy_(propagated[:USERS])
        tables[1].copy_(propagated[USERS:])
    expected = batch_loss(plain.model, plain.loss, batch, plain.items, log_q_N=None, device=CPU)
    expected.backward()  # type: ignore[no-untyped-call]
    propagated.backward(torch.cat([table.grad for table in tables if table.grad is not None]))  # type: ignore[no-untyped-call]
    assert both.grad is not None
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    found = torch.cat([ours.model.embeddings.table(name).grad for name in ("user", "item")])
    torch.testing.assert_close(found, both.grad, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, torch.cat([table.grad for table in tables if table.grad is not None]), atol=1e-3)


def test_each_step_propagates_once_and_each_validation_once(world: World, calls: list[int]) -> None:
    found = world(propagation=WEIGHTS)
    made = len(calls)
    seen: list[Tensor] = []

    def validate(model: Any) -> dict[str, float]:
        seen.extend(model.encode_candidates(found.items) for _ in range(3))
        return {"recall@100": 0.0}

    found.train({"epochs": 2}, validate=validate)
    steps = 2 * len(found.batches)
    assert len(calls) - made == steps + 2
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[2], seen[3])


def test_checkpoints_hold_what_is_learned_and_not_what_is_looked_up(world: World, tmp_path: Path) -> None:
    found = world(propagation=WEIGHTS)
    found.train({"epochs": 1}, checkpoints=Checkpoints(tmp_path, "same"))
    tensors, _ = read_tensors(tmp_path / "last.safetensors")
    assert sorted(name for name in tensors if name.startswith("model:")) == sorted(
        f"model:{name}" for name, _ in world().model.named_parameters()
    )
    learned = torch.cat([tensors["model:embeddings.table:user"], tensors["model:embeddings.table:item"]])
    found.model.embeddings.settle()
    settled = torch.cat([found.model.embeddings.table(name).detach() for name in ("user", "item")])
    torch.testing.assert_close(settled, operator() @ learned, rtol=1e-5, atol=1e-6)


def test_without_layers_training_is_to_the_same_bits(world: World) -> None:
    plain, same = world(dropout=0.2), world(dropout=0.2, propagation=(1.0,))
    plain.train()
    same.train()
    for (name, one), other in zip(plain.state().items(), same.state().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_graph_of_more_rows_is_refused(world: World) -> None:
    graph = InteractionGraph.from_pairs(np.array([1]), np.array([1]), num_queries=USERS + 1, num_candidates=ITEMS)
    with pytest.raises(ValueError, match="the graph is of 13 query rows and 8 candidate rows"):
        world().model.embeddings.propagate(Propagation("user", "item", graph, WEIGHTS))
