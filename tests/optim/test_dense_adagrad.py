"""Adagrad in one call against torch's own step."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.native import native_status
from twotower.optim.dense_adagrad import Adagrad

pytestmark = pytest.mark.skipif(not native_status("adagrad").available, reason="there is no C compiler")


def trained(kind: type[torch.optim.Adagrad], steps: int = 4, **options: Any) -> tuple[list[Tensor], dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(50, 7), (3,), (1, 1), (16, 16), (200, 65)]
    parameters = [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in shapes]
    groups: list[dict[str, Any]] = [{"params": parameters[:2], "lr": 0.3, "weight_decay": 0.01}, {"params": parameters[2:]}]
    optimizer = kind(groups, lr=0.1, initial_accumulator_value=0.1, **options)
    for step in range(steps):
        for at, parameter in enumerate(parameters):
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = None if at == 1 and step == 2 else gradient
        optimizer.step()
    return [parameter.detach() for parameter in parameters], optimizer.state_dict()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("options", [{}, {"eps": 1e-3}, {"fused": True}, {"lr_decay": 0.1}, {"maximize": True}])
def test_weights_and_state_are_those_of_torch(options: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.optim.dense_adagrad._LEAST_NUMBERS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    ours, state = trained(Adagrad, **options)
    torchs, expected = trained(torch.optim.Adagrad, **options)
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert state["param_groups"] == expected["param_groups"]
    assert state["state"].keys() == expected["state"].keys()
    for key, each in state["state"].items():
        assert float(each["step"]) == float(expected["state"][key]["step"])
        torch.testing.assert_close(each["sum"], expected["state"][key]["sum"], rtol=1e-5, atol=1e-6)


def test_it_is_the_kernel_that_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("torch's step was called")

    monkeypatch.setattr(torch.optim.Adagrad, "step", refuse)
    assert unwrap(torch.optim.Adagrad.step) is refuse
    trained(Adagrad)
    with pytest.raises(AssertionError, match="torch's step"):
        trained(Adagrad, lr_decay=0.1)
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")
    with pytest.raises(AssertionError, match="torch's step"):
        trained(Adagrad)


def test_what_is_stepped_over_is_noticed() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Adagrad([weight], lr=0.1)
    loss = (weight * weight).sum()
    weight.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_a_gradient_that_is_not_contiguous() -> None:
    found = []
    for kind in (Adagrad, torch.optim.Adagrad):
        weight = torch.nn.Parameter(torch.ones(3, 2))
        weight.grad = torch.arange(6.0).reshape(2, 3).T
        kind([weight], lr=0.1).step()
        found.append(weight.detach())
    torch.testing.assert_close(*found)


def test_a_closure_is_called() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Adagrad([weight], lr=0.1)

    def closure() -> float:
        weight.grad = torch.ones(3)
        return 2.5

    assert optimizer.step(closure) == 2.5
    assert bool((weight < 1).all())
