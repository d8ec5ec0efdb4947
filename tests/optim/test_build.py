from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import Optimizer

from twotower.config import parse_config
from twotower.errors import ConfigError
from twotower.optim import ExactAdagrad, LazyAdam, OptimizerConfig, RowwiseAdagrad, build_optimizers


class Model(nn.Module):
    def __init__(self, *, sparse: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Embedding(6, 3, sparse=sparse)
        self.layer = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.log_excess = nn.Parameter(torch.tensor(-1.0))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out = self.norm(self.layer(self.table(ids))).square().sum() * self.log_excess.exp()
        assert isinstance(out, torch.Tensor)
        return out


SPARSE = {"table.weight"}


def train(model: Model, optimizers: list[Optimizer], steps: int = 3) -> None:
    for step in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(torch.tensor([0, 2, 2, 4 + step % 2])).backward()
        for optimizer in optimizers:
            optimizer.step()


def group_of(optimizers: list[Optimizer], parameter: nn.Parameter) -> tuple[Optimizer, dict[str, Any]]:
    found = [
        (optimizer, group)
        for optimizer in optimizers
        for group in optimizer.param_groups
        if any(each is parameter for each in group["params"])
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("kind", "dense", "table"),
    [
        ("adagrad", torch.optim.Adagrad, ExactAdagrad),
        ("adamw", torch.optim.AdamW, RowwiseAdagrad),
        ("rowwise_adagrad", RowwiseAdagrad, RowwiseAdagrad),
    ],
)
def test_every_parameter_is_trained_once_by_the_right_optimiser(kind: Any, dense: type, table: type) -> None:
    model = Model()
    optimizers = build_optimizers(model.named_parameters(), OptimizerConfig(kind=kind), sparse_parameter_names=SPARSE)
    for name, parameter in model.named_parameters():
        optimizer, _ = group_of(optimizers, parameter)
        assert isinstance(optimizer, table if name in SPARSE else dense)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train(model, optimizers)
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("kind", ["adagrad", "rowwise_adagrad"])
def test_sparse_gradients_give_what_dense_ones_do(kind: Any) -> None:
    # the dense table under adagrad is trained by torch's own
    config = OptimizerConfig(kind=kind, learning_rate=0.1)
    ends = []
    for sparse in (True, False):
        model = Model(sparse=sparse)
        names = SPARSE if sparse else set()
        train(model, build_optimizers(model.named_parameters(), config, sparse_parameter_names=names), steps=5)
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], msg=name)


def test_adagrad_is_the_formula_with_the_constants_of_keras() -> None:
    # Keras has epsilon inside the root, which is the same to 7 digits with an accumulator from 0.1
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    (optimizer,) = build_optimizers([("weight", weight)], OptimizerConfig())
    accumulators, expected = [0.1, 0.1], [1.0, -2.0]
    for gradient in ([0.5, 2.0], [-1.0, 0.0], [0.25, 3.0]):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        for column, g in enumerate(gradient):
            accumulators[column] += g * g
            expected[column] -= 0.1 * g / (accumulators[column] + 1e-7) ** 0.5
    assert weight[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_weight_decay_is_for_matrices_that_are_dense() -> None:
    model = Model()
    config = OptimizerConfig(kind="adamw", learning_rate=0.01, weight_decay=0.3)
    optimizers = build_optimizers(model.named_parameters(), config, sparse_parameter_names=SPARSE)
    decays = {name: group_of(optimizers, parameter)[1].get("weight_decay", 0.0) for name, parameter in model.named_parameters()}
    assert decays == {
        "table.weight": 0.0,
        "layer.weight": 0.3,
        "layer.bias": 0.0,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "log_excess": 0.0,
    }
    train(model, optimizers)  # torch refuses to decay sparse gradients
    with_adagrad = OptimizerConfig(kind="adagrad", weight_decay=0.3)
    train(model, build_optimizers(model.named_parameters(), with_adagrad, sparse_parameter_names=SPARSE))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("adagrad", {"learning_rate": 0.02}),
        ("adagrad", {"sparse_learning_rate": 0.5}),
        ("adagrad", {"weight_decay": 0.1}),
        ("adagrad", {"initial_accumulator": 0.5}),
        ("adagrad", {"epsilon": 0.1}),
        ("rowwise_adagrad", {"learning_rate": 0.02}),
        ("rowwise_adagrad", {"sparse_learning_rate": 0.5}),
        ("rowwise_adagrad", {"initial_accumulator": 0.5}),
        ("rowwise_adagrad", {"epsilon": 0.1}),
        ("adamw", {"learning_rate": 0.02}),
        ("adamw", {"sparse_learning_rate": 0.5}),
        ("adamw", {"weight_decay": 0.1}),
        ("adamw", {"initial_accumulator": 0.5}),
        ("adamw", {"epsilon": 0.1}),
        ("adamw", {"sparse_kind": "lazy_adam"}),
        ("adamw", {"betas": (0.5, 0.999)}),
        ("adamw", {"betas": (0.9, 0.5)}),
    ],
)
def test_every_option_changes_the_result(kind: Any, change: dict[str, Any]) -> None:
    ends = []
    for options in ({}, change):
        model = Model()
        config = OptimizerConfig(kind=kind, **{"learning_rate": 0.01, **options})
        train(model, build_optimizers(model.named_parameters(), config, sparse_parameter_names=SPARSE))
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert not torch.allclose(ends[0], ends[1], rtol=1e-5)


@pytest.mark.parametrize(("kind", "epsilon"), [("adagrad", 1e-7), ("rowwise_adagrad", 1e-7), ("adamw", 1e-8)])
def test_epsilon_has_the_default_of_its_kind(kind: Any, epsilon: float) -> None:
    weight = nn.Parameter(torch.zeros(1, 1))
    (optimizer,) = build_optimizers([("weight", weight)], OptimizerConfig(kind=kind))
    assert optimizer.param_groups[0]["eps"] == epsilon


@pytest.mark.parametrize(
    ("kind", "options", "dense", "table"),
    [
        ("adagrad", {}, 0.1, 0.1),
        ("rowwise_adagrad", {}, 0.1, 0.1),
        ("adamw", {}, 0.001, 0.1),
        ("adagrad", {"learning_rate": 0.02}, 0.02, 0.02),
        ("adamw", {"learning_rate": 0.02}, 0.02, 0.1),
        ("adamw", {"sparse_learning_rate": 0.3}, 0.001, 0.3),
        ("adamw", {"sparse_kind": "rowwise_adagrad"}, 0.001, 0.1),
        ("adamw", {"sparse_kind": "lazy_adam"}, 0.001, 0.001),
        ("adamw", {"sparse_kind": "lazy_adam", "learning_rate": 0.02}, 0.02, 0.02),
        ("adamw", {"sparse_kind": "lazy_adam", "sparse_learning_rate": 0.3}, 0.001, 0.3),
        ("adagrad", {"sparse_learning_rate": 0.3}, 0.1, 0.3),
    ],
)
def test_learning_rates_suit_their_kind(kind: Any, options: dict[str, float], dense: float, table: float) -> None:
    model = Model()
    config = OptimizerConfig(kind=kind, **options)
    optimizers = build_optimizers(model.named_parameters(), config, sparse_parameter_names=SPARSE)
    rates = {name: group_of(optimizers, parameter)[1]["lr"] for name, parameter in model.named_parameters()}
    assert rates == {name: table if name in SPARSE else dense for name in rates}


def test_groups_hold_their_initial_rate() -> None:
    model = Model()
    config = OptimizerConfig(kind="adamw", learning_rate=0.01, sparse_learning_rate=0.2)
    optimizers = build_optimizers(model.named_parameters(), config, sparse_parameter_names=SPARSE)
    rates = [(group["lr"], group["initial_lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    assert rates == [(0.01, 0.01), (0.01, 0.01), (0.2, 0.2)]


def test_a_shared_parameter_is_trained_once_and_frozen_ones_not_at_all() -> None:
    table, frozen = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    named = [("query.table", table), ("frozen", frozen), ("candidate.table", table)]
    (optimizer,) = build_optimizers(named, OptimizerConfig(kind="adamw"), sparse_parameter_names={"candidate.table"})
    assert isinstance(optimizer, RowwiseAdagrad)
    assert [id(parameter) for group in optimizer.param_groups for parameter in group["params"]] == [id(table)]


def test_what_can_not_be_built_is_refused() -> None:
    model = Model()
    with pytest.raises(ValueError, match=r"names of parameters; came \['tabel.weight'\], not among \['layer.bias'"):
        build_optimizers(model.named_parameters(), OptimizerConfig(), sparse_parameter_names={"tabel.weight"})
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"came 6 parameters, none that does"):
        build_optimizers(model.named_parameters(), OptimizerConfig())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "sgd"}, r"kind: "),
        ({"learning_rate": 0}, r"learning_rate: "),
        ({"betas": [0.9, 1.0]}, r"betas.1: "),
        (
            {"kind": "rowwise_adagrad", "weight_decay": 0.1},
            r"weight_decay must be 0 with rowwise_adagrad, which has none; came 0.1",
        ),
    ],
)
def test_a_wrong_config_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(OptimizerConfig, values)


@pytest.mark.parametrize(("kind", "moved"), [("adamw", 0.1 * 1e-4 / 1.1e-8**0.5), ("rowwise_adagrad", 0.1 * 1e-4 / 0.1**0.5)])
def test_the_small_gradients_of_a_mean_move_tables_beside_adamw(kind: Any, moved: float) -> None:
    table = nn.Embedding(2, 3, sparse=True)
    before = table.weight.detach().clone()
    optimizers = build_optimizers(table.named_parameters(), OptimizerConfig(kind=kind), sparse_parameter_names={"weight"})
    (table(torch.tensor([1])).sum() * 1e-4).backward()
    for optimizer in optimizers:
        optimizer.step()
    change = before - table.weight.detach()
    assert change[0].tolist() == [0.0] * 3
    assert change[1].tolist() == pytest.approx([moved] * 3, rel=1e-3, abs=1e-6)


def test_tables_by_lazy_adam_beside_adamw() -> None:
    model = Model()
    config = OptimizerConfig(kind="adamw", sparse_kind="lazy_adam", betas=(0.7, 0.8), epsilon=1e-4, weight_decay=0.1)
    _, tables = build_optimizers(model.named_parameters(), config, sparse_parameter_names=SPARSE)
    assert isinstance(tables, LazyAdam)
    assert {"betas": (0.7, 0.8), "eps": 1e-4}.items() <= tables.param_groups[0].items()
    assert "weight_decay" not in tables.param_groups[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "adagrad", "sparse_kind": "lazy_adam"}, "sparse_kind is for tables beside adamw; adagrad trains all of them"),
        ({"kind": "adamw", "sparse_kind": "lazy_adam", "initial_accumulator": 0.1}, "initial_accumulator is Adagrad's"),
        ({"kind": "adamw", "sparse_kind": "adam"}, "rowwise_adagrad"),
    ],
)
def test_choices_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OptimizerConfig(**options)
