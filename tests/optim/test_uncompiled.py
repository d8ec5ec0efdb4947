from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from twotower.optim import ExactAdagrad, RowwiseAdagrad
from twotower.optim.uncompiled import uncompiled

TYPES: dict[type[Optimizer], dict[str, Any]] = {
    torch.optim.AdamW: {"lr": 0.01, "weight_decay": 0.1},
    torch.optim.Adagrad: {"lr": 0.1, "initial_accumulator_value": 0.1},
    ExactAdagrad: {"lr": 0.1},
    RowwiseAdagrad: {"lr": 0.1},
}


def trained(kind: type[Optimizer], options: dict[str, Any], steps: int = 5) -> tuple[torch.Tensor, Optimizer]:
    weights = torch.nn.Parameter(torch.linspace(-1, 2, 12).reshape(4, 3))
    optimizer = kind([weights], **options)
    for step in range(steps):
        optimizer.zero_grad()
        (weights - step).pow(3).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights.detach(), optimizer


@pytest.mark.parametrize("kind", TYPES)
def test_the_same_to_the_bit(kind: type[Optimizer]) -> None:
    expected, plain = trained(kind, TYPES[kind])
    found, ours = trained(uncompiled(kind), TYPES[kind])
    assert torch.equal(found, expected)
    assert type(ours).__name__ == kind.__name__
    assert isinstance(ours, kind)
    one, other = plain.state_dict(), ours.state_dict()
    assert one["param_groups"] == other["param_groups"]
    assert all(
        torch.equal(torch.as_tensor(one["state"][0][key]), torch.as_tensor(other["state"][0][key])) for key in one["state"][0]
    )


@pytest.mark.parametrize("kind", TYPES)
def test_a_state_goes_on_where_it_was(kind: type[Optimizer]) -> None:
    expected, _ = trained(uncompiled(kind), TYPES[kind], steps=6)
    weights, optimizer = trained(uncompiled(kind), TYPES[kind], steps=5)
    resumed = uncompiled(kind)([torch.nn.Parameter(weights.clone())], **TYPES[kind])
    resumed.load_state_dict(optimizer.state_dict())
    (parameter,) = resumed.param_groups[0]["params"]
    (parameter - 5).pow(3).sum().backward()
    resumed.step()
    assert torch.equal(parameter.detach(), expected)


def test_a_closure_has_gradients_and_a_step_has_none() -> None:
    weights = torch.nn.Parameter(torch.ones(2))
    optimizer = uncompiled(torch.optim.AdamW)([weights], lr=0.5)

    def closure() -> float:
        loss = weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    assert optimizer.step(closure) == 2.0
    assert weights.requires_grad
    assert weights.is_leaf
    assert weights.detach().max() < 1


def test_the_compiler_is_not_loaded() -> None:
    program = (
        "import sys, torch\n"
        "from twotower.optim import OptimizerConfig, build_optimizers\n"
        "model = torch.nn.Sequential(torch.nn.Embedding(9, 4, sparse=True), torch.nn.Linear(4, 2))\n"
        "for kind in ('adagrad', 'adamw', 'rowwise_adagrad'):\n"
        "    config = OptimizerConfig(kind=kind)\n"
        "    found = build_optimizers(model.named_parameters(), config, sparse_parameter_names={'0.weight'})\n"
        "    model(torch.tensor([1, 2])).sum().backward()\n"
        "    for optimizer in found:\n"
        "        optimizer.step()\n"
        "        optimizer.zero_grad()\n"
        "        optimizer.load_state_dict(optimizer.state_dict())\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
