from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from twotower.optim import clip_gradients


def parameters() -> list[nn.Parameter]:
    """A dense gradient of 3 and 4, a sparse one of which row 1 adds up to 12, and none."""
    dense, table, idle = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3, 1)), nn.Parameter(torch.zeros(2))
    dense.grad = torch.tensor([3.0, 4.0])
    rows, values = torch.tensor([[1, 1]]), torch.tensor([[5.0], [7.0]])
    table.grad = torch.sparse_coo_tensor(rows, values, (3, 1), check_invariants=True)
    return [dense, table, idle]


def dense_gradients(given: list[nn.Parameter]) -> list[list[float]]:
    found: list[list[float]] = []
    for parameter in given:
        gradient: Tensor | None = parameter.grad
        if gradient is not None:
            found.append((gradient.to_dense() if gradient.is_sparse else gradient).flatten().tolist())
    return found


def test_all_gradients_are_scaled_to_the_common_norm() -> None:
    given = parameters()
    assert clip_gradients(given, 6.5) == pytest.approx(13.0, rel=1e-6)
    assert dense_gradients(given) == [pytest.approx([1.5, 2.0]), pytest.approx([0.0, 6.0, 0.0])]
    assert given[1].grad is not None
    assert given[1].grad.is_sparse
    assert clip_gradients(given, math.inf) == pytest.approx(6.5, rel=1e-6)


@pytest.mark.parametrize("max_norm", [13.5, math.inf])
def test_a_small_norm_is_left_alone(max_norm: float) -> None:
    given = parameters()
    assert clip_gradients(given, max_norm) == pytest.approx(13.0, rel=1e-6)
    assert dense_gradients(given) == [[3.0, 4.0], [0.0, 12.0, 0.0]]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told_and_nothing_is_scaled(wrong: float) -> None:
    given = parameters()
    assert given[0].grad is not None
    given[0].grad[0] = wrong
    assert not math.isfinite(clip_gradients(given, 1.0))
    assert given[0].grad[1].item() == 4.0
    assert dense_gradients(given)[1] == [0.0, 12.0, 0.0]


def test_no_gradients_have_norm_zero() -> None:
    assert clip_gradients([nn.Parameter(torch.zeros(2))], 1.0) == 0.0
    assert clip_gradients([], 1.0) == 0.0


def test_parameters_may_come_from_a_generator() -> None:
    given = parameters()
    assert clip_gradients((parameter for parameter in given), 1.0) == pytest.approx(13.0, rel=1e-6)
    assert clip_gradients(given, 5.0) == pytest.approx(1.0, rel=1e-6)


def test_half_precision_does_not_overflow_in_the_norm() -> None:
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    weight.grad = torch.full((4,), 60_000.0, dtype=torch.float16)
    assert clip_gradients([weight], math.inf) == pytest.approx(120_000, rel=1e-3)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_norm_of_nothing_is_refused(max_norm: float) -> None:
    with pytest.raises(ValueError, match=r"max_norm must be above 0; came"):
        clip_gradients([], max_norm)
