from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twotower.optim import ExactAdagrad

WEIGHTS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
STEPS = [[[0.5, -1.0], [0.0, 0.0], [2.0, 0.0]], [[0.25, 0.5], [0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 3.0], [0.1, 0.1]]]


def oracle(steps: list[list[list[float]]], lr: float, start: float, eps: float) -> list[list[float]]:
    weights, accumulators = copy.deepcopy(WEIGHTS), [[start, start] for _ in WEIGHTS]
    for gradients in steps:
        for row, gradient in enumerate(gradients):
            for column, g in enumerate(gradient):
                accumulators[row][column] += g * g
                weights[row][column] -= lr * g / (math.sqrt(accumulators[row][column]) + eps)
    return weights


def sparse(gradient: list[list[float]]) -> Tensor:
    """The touched rows only, each in two halves, so that it must be added up."""
    rows = [row for row, values in enumerate(gradient) if any(values)]
    halves = torch.tensor([gradient[row] for row in rows], dtype=torch.float64) / 2
    return torch.sparse_coo_tensor(
        torch.tensor([rows + rows[::-1]]), torch.cat([halves, halves.flip(0)]), (3, 2), check_invariants=True
    )


def make(**numbers: float) -> tuple[nn.Parameter, ExactAdagrad]:
    weight = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
    return weight, ExactAdagrad([weight], **{"lr": 0.5, **numbers})


def go(weight: nn.Parameter, optimizer: ExactAdagrad, steps: list[list[list[float]]], *, dense: bool = False) -> None:
    for gradient in steps:
        weight.grad = torch.tensor(gradient, dtype=torch.float64) if dense else sparse(gradient)
        optimizer.step()


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("numbers", [(0.1, 0.0, 1e-7), (0.5, 0.1, 1e-7), (0.5, 0.1, 0.3)])
def test_is_the_formula_number_by_number(dense: bool, numbers: tuple[float, float, float]) -> None:
    lr, start, eps = numbers
    weight, optimizer = make(lr=lr, initial_accumulator_value=start, eps=eps)
    go(weight, optimizer, STEPS, dense=dense)
    for row, expected in zip(weight.tolist(), oracle(STEPS, lr, start, eps), strict=True):
        assert row == pytest.approx(expected, rel=1e-12)


def test_is_the_adagrad_of_torch() -> None:
    ours, optimizer = make(initial_accumulator_value=0.1, eps=1e-5)
    theirs = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
    reference = torch.optim.Adagrad([theirs], lr=0.5, initial_accumulator_value=0.1, eps=1e-5)
    for gradient in STEPS:
        go(ours, optimizer, [gradient])
        theirs.grad = torch.tensor(gradient, dtype=torch.float64)
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_a_sparse_step_touches_its_rows_in_place() -> None:
    weight, optimizer = make()
    where = weight.data_ptr()
    go(weight, optimizer, STEPS[1:2])
    assert weight.data_ptr() == where
    assert weight[1:].tolist() == WEIGHTS[1:]
    assert weight[0].tolist() != WEIGHTS[0]


def test_state_is_complete_from_the_start_and_goes_to_a_file_and_back() -> None:
    whole, optimizer = make(initial_accumulator_value=0.25)
    assert optimizer.state[whole]["accumulator"].tolist() == [[0.25, 0.25]] * 3
    go(whole, optimizer, STEPS)
    first, optimizer = make(initial_accumulator_value=0.25)
    go(first, optimizer, STEPS[:2])
    resumed, other = make(initial_accumulator_value=0.25)
    with torch.no_grad():
        resumed.copy_(first)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    go(resumed, other, STEPS[2:])
    assert torch.equal(resumed, whole)


def test_groups_have_their_own_numbers() -> None:
    fast, slow, still = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups: list[dict[str, Any]] = [{"params": [fast], "lr": 1.0}, {"params": [slow, still]}]
    optimizer = ExactAdagrad(groups, lr=0.1)
    fast.grad = slow.grad = torch.ones(1)
    optimizer.step()
    assert [fast.item(), slow.item(), still.item()] == pytest.approx([-1.0, -0.1, 0.0], rel=1e-5)


def test_a_closure_is_called_with_gradients_on() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = ExactAdagrad([weight], lr=0.1)

    def closure() -> float:
        loss = weight.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    with torch.no_grad():
        assert optimizer.step(closure) == 2.0
    assert weight.tolist() == pytest.approx([0.9, 0.9], rel=1e-5)


@pytest.mark.parametrize("numbers", [{"lr": -1.0}, {"initial_accumulator_value": -0.1}, {"eps": 0.0}])
def test_numbers_out_of_range_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least 0 and eps above 0; came"):
        make(**numbers)
