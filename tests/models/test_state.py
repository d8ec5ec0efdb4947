from __future__ import annotations

import pytest
import torch
from torch import nn

from twotower.errors import BundleError
from twotower.losses import InBatchSoftmax, Temperature
from twotower.models import TwoTower, build, load_state, state_of
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec


def model(seed: int, width: int = 3) -> TwoTower:
    table = TableSpec(name="id", vocabulary_size=5, embedding_dim=width)
    tower = TowerSpec(inputs=(InputSpec(column="id", width=width, table="id"),), layer_sizes=(4, 2))
    return build(ModelSpec(tables=(table,), query=tower, candidate=tower, share_layers=True), seed=seed)


def test_what_is_shared_is_there_once() -> None:
    state = state_of(model(0))
    assert sorted(list(value.shape) for value in state.values()) == [[2], [2, 4], [4], [4, 3], [5, 3]]
    assert all(not value.requires_grad for value in state.values())


def test_weights_come_back_in_every_bit() -> None:
    source, target = model(0), model(1)
    kept = {name: value.clone() for name, value in state_of(source).items()}
    load_state(target, kept)
    rows = {"id": torch.arange(5)}
    assert torch.equal(source.encode_queries(rows), target.encode_queries(rows))
    assert torch.equal(source.encode_candidates(rows), target.encode_candidates(rows))
    assert target.query.layers is target.candidate.layers


def test_the_state_is_the_modules_own_memory() -> None:
    source = model(0)
    with torch.no_grad():
        next(source.parameters()).fill_(7)
    assert any(bool((value == 7).all()) for value in state_of(source).values())


def test_buffers_are_part_of_the_state() -> None:
    loss, other = InBatchSoftmax(Temperature(0.25)), InBatchSoftmax(Temperature(1.0))
    load_state(other, state_of(loss))
    assert other.temperature.value() == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, "bias is missing"),
        ({"extra": torch.zeros(1)}, "extra is not in the model"),
        ({"weight": torch.zeros(3, 2)}, r"weight has shape \[3, 2\], the model's is \[2, 3\]"),
        ({"bias": None, "extra": torch.zeros(1)}, "bias is missing; extra is not in the model"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_copied(
    change: dict[str, torch.Tensor | None], message: str
) -> None:
    module = nn.utils.skip_init(nn.Linear, 3, 2)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    state = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), **change}
    with pytest.raises(BundleError, match=message):
        load_state(module, {name: value for name, value in state.items() if value is not None})
    assert all(bool((parameter == 1).all()) for parameter in module.parameters())
