from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twotower.optim import RowwiseAdagrad


def oracle(
    weights: list[list[float]], steps: list[list[list[float]]], lr: float, start: float, eps: float
) -> list[list[float]]:
    weights, accumulators = copy.deepcopy(weights), [start] * len(weights)
    for gradients in steps:
        for row, gradient in enumerate(gradients):
            accumulators[row] += sum(g * g for g in gradient) / len(gradient)
            for column, g in enumerate(gradient):
                weights[row][column] -= lr * g / (math.sqrt(accumulators[row]) + eps)
    return weights


WEIGHTS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
STEPS = [[[0.5, -1.0], [0.0, 0.0], [2.0, 0.0]], [[0.25, 0.5], [0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 3.0], [0.1, 0.1]]]


def sparse(gradient: list[list[float]]) -> Tensor:
    """The touched rows only, each in two halves, so that it must be added up."""
    rows = [row for row, values in enumerate(gradient) if any(values)]
    halves = torch.tensor([gradient[row] for row in rows], dtype=torch.float64) / 2
    indices = torch.tensor([rows + rows[::-1]])
    values = torch.cat([halves, halves.flip(0)])
    return torch.sparse_coo_tensor(indices, values, (3, 2), check_invariants=True)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("numbers", [(0.1, 0.0, 1e-7), (0.5, 0.1, 1e-7), (0.5, 0.1, 0.3)])
def test_is_the_formula_row_by_row(kind: str, numbers: tuple[float, float, float]) -> None:
    lr, start, eps = numbers
    weight = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
    optimizer = RowwiseAdagrad([weight], lr=lr, initial_accumulator_value=start, eps=eps)
    for gradient in STEPS:
        weight.grad = sparse(gradient) if kind == "sparse" else torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    for row, expected in zip(weight.tolist(), oracle(WEIGHTS, STEPS, lr, start, eps), strict=True):
        assert row == pytest.approx(expected, rel=1e-12)


def test_on_a_vector_and_a_scalar_it_is_adagrad() -> None:
    for shape in ((4,), ()):
        ours = nn.Parameter(torch.ones(shape, dtype=torch.float64))
        theirs = nn.Parameter(torch.ones(shape, dtype=torch.float64))
        one = RowwiseAdagrad([ours], lr=0.3, initial_accumulator_value=0.1, eps=1e-6)
        two = torch.optim.Adagrad([theirs], lr=0.3, initial_accumulator_value=0.1, eps=1e-6)
        for step in range(3):
            gradient = torch.linspace(-1, 2, 4, dtype=torch.float64)[: ours.numel()].reshape(shape) + step
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
            one.step()
            two.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_more_dimensions_belong_to_their_row() -> None:
    flat = nn.Parameter(torch.ones(2, 6))
    cube = nn.Parameter(torch.ones(2, 3, 2))
    gradient = torch.arange(12.0).reshape(2, 6)
    flat.grad, cube.grad = gradient.clone(), gradient.reshape(2, 3, 2).clone()
    RowwiseAdagrad([flat], lr=0.1).step()
    RowwiseAdagrad([cube], lr=0.1).step()
    assert torch.equal(cube.flatten(1), flat)


def test_a_sparse_step_touches_its_rows_in_place() -> None:
    weight = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
    where = weight.data_ptr()
    weight.grad = sparse(STEPS[1])
    RowwiseAdagrad([weight], lr=0.1).step()
    assert weight.data_ptr() == where
    assert weight[1:].tolist() == WEIGHTS[1:]
    assert weight[0].tolist() != WEIGHTS[0]


def test_trains_an_embedding_as_a_dense_one() -> None:
    torch_rng = torch.Generator().manual_seed(0)
    start = torch.randn(6, 3, generator=torch_rng)
    ids = torch.tensor([[0, 2, 2], [5, 0, 1]])
    ends = []
    for is_sparse in (False, True):
        table = nn.Embedding(6, 3, sparse=is_sparse, _weight=start.clone())
        optimizer = RowwiseAdagrad(table.parameters(), lr=0.2, initial_accumulator_value=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            table(ids).square().sum().backward()
            assert table.weight.grad is not None
            assert table.weight.grad.is_sparse == is_sparse
            optimizer.step()
        ends.append(table.weight.detach())
    torch.testing.assert_close(ends[0], ends[1])
    assert torch.equal(ends[1][3], start[3])


def test_one_number_of_state_per_row_from_the_start() -> None:
    weight = nn.Parameter(torch.zeros(5, 7))
    optimizer = RowwiseAdagrad([weight], lr=0.1, initial_accumulator_value=0.25)
    assert optimizer.state[weight]["accumulator"].tolist() == [0.25] * 5


def test_state_goes_to_a_file_and_back() -> None:
    def make() -> tuple[nn.Parameter, RowwiseAdagrad]:
        weight = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
        return weight, RowwiseAdagrad([weight], lr=0.5, initial_accumulator_value=0.1)

    def go(weight: nn.Parameter, optimizer: RowwiseAdagrad, steps: list[list[list[float]]]) -> None:
        for gradient in steps:
            weight.grad = sparse(gradient)
            optimizer.step()

    whole, optimizer = make()
    go(whole, optimizer, STEPS)
    first, optimizer = make()
    go(first, optimizer, STEPS[:2])
    resumed, other = make()
    with torch.no_grad():
        resumed.copy_(first)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    go(resumed, other, STEPS[2:])
    assert torch.equal(resumed, whole)


def test_groups_have_their_own_numbers() -> None:
    fast, slow, still = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups: list[dict[str, Any]] = [{"params": [fast], "lr": 1.0}, {"params": [slow, still]}]
    optimizer = RowwiseAdagrad(groups, lr=0.1)
    fast.grad = slow.grad = torch.ones(1)
    optimizer.step()
    assert [fast.item(), slow.item(), still.item()] == pytest.approx([-1.0, -0.1, 0.0], rel=1e-5)


def test_a_closure_is_called_with_gradients_on() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = RowwiseAdagrad([weight], lr=0.1)

    def closure() -> float:
        loss = weight.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    with torch.no_grad():
        assert optimizer.step(closure) == 2.0
    assert weight.tolist() == pytest.approx([0.9, 0.9], rel=1e-5)


@pytest.mark.parametrize("numbers", [{"lr": -1.0}, {"lr": 0.1, "initial_accumulator_value": -0.1}, {"lr": 0.1, "eps": 0.0}])
def test_numbers_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 0 and eps above 0; came"):
        RowwiseAdagrad([nn.Parameter(torch.zeros(1))], **numbers)
