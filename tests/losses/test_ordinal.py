from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from twotower.losses import cumulative_cross_entropy


def slowly(logits: list[float], level: int) -> float:
    """Minus log P(level), from the probabilities themselves."""
    above = [1.0, *(1.0 / (1.0 + math.exp(-x)) for x in logits), 0.0]
    return -math.log(above[level] - above[level + 1])


def falling(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn.sort(dim=1, descending=True).values


@pytest.mark.parametrize("width", [1, 2, 5])
def test_every_level_costs_what_its_probability_says(width: int) -> None:
    logits = falling(4, width)
    for level in range(width + 1):
        found = cumulative_cross_entropy(logits, torch.full((4,), level), reduction="none")
        assert found.tolist() == pytest.approx([slowly(row, level) for row in logits.tolist()], rel=1e-9)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_probabilities_add_up_to_one(width: int) -> None:
    logits = falling(3, width)
    total = sum(
        cumulative_cross_entropy(logits, torch.full((3,), level), reduction="none").neg().exp() for level in range(width + 1)
    )
    assert isinstance(total, torch.Tensor)
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights(reduction: Literal["mean", "sum"]) -> None:
    logits, levels, weights = falling(3, 2), torch.tensor([0, 1, 2]), [1.0, 0.0, 3.0]
    rows = [slowly(row, level) * w for row, level, w in zip(logits.tolist(), [0, 1, 2], weights, strict=True)]
    found = cumulative_cross_entropy(logits, levels, weights_B=torch.tensor(weights), reduction=reduction)
    assert float(found) == pytest.approx(sum(rows) / (4.0 if reduction == "mean" else 1.0))


def test_gradient() -> None:
    logits = falling(6, 3).requires_grad_()
    levels = torch.tensor([0, 1, 2, 3, 1, 2])
    assert torch.autograd.gradcheck(lambda given: cumulative_cross_entropy(given, levels), (logits,))


def test_a_level_that_is_all_but_impossible_has_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[200.0, 190.0], [-190.0, -200.0]]).requires_grad_()
    losses = cumulative_cross_entropy(logits, torch.tensor([0, 2]), reduction="none")
    assert losses.tolist() == pytest.approx([200.0, 200.0])
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.tolist() == [pytest.approx([1.0, 0.0]), pytest.approx([0.0, -1.0])]


def test_shapes_must_fit() -> None:
    for outputs, targets in ((torch.zeros(3), [0, 0, 0]), (torch.zeros(3, 0), [0, 0, 0]), (torch.zeros(3, 2), [0, 0])):
        with pytest.raises(ValueError, match=r"outputs \[B, O\] and targets \[B\] must fit"):
            cumulative_cross_entropy(outputs, torch.tensor(targets))
