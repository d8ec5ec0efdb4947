from __future__ import annotations

from typing import Literal

import pytest
import torch

from twotower.losses import squared_error


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_that_of_a_loop(reduction: Literal["mean", "sum", "none"], weighted: bool) -> None:
    outputs, targets, weights = [0.5, -2.0, 3.0], [1.0, 1.0, 2.5], [0.5, 2.0, 0.0]
    rows = [(o - t) ** 2 * (w if weighted else 1.0) for o, t, w in zip(outputs, targets, weights, strict=True)]
    expected = {"none": rows, "sum": sum(rows), "mean": sum(rows) / (2.5 if weighted else 3)}[reduction]
    found = squared_error(
        torch.tensor(outputs, dtype=torch.float64)[:, None],
        torch.tensor(targets, dtype=torch.float64),
        weights_B=torch.tensor(weights) if weighted else None,
        reduction=reduction,
    )
    assert found.tolist() == pytest.approx(expected)


def test_gradient() -> None:
    outputs_B1 = torch.randn(5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets_B = torch.arange(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda outputs: squared_error(outputs, targets_B), (outputs_B1,))


def test_half_precision_is_compared_in_single() -> None:
    found = squared_error(torch.tensor([[300.0]], dtype=torch.float16), torch.tensor([0.0]))
    assert found.dtype == torch.float32
    assert float(found) == 90_000.0  # beyond what a half holds


def test_shapes_must_fit() -> None:
    for outputs, targets in (
        (torch.zeros(3), torch.zeros(3)),
        (torch.zeros(3, 2), torch.zeros(3)),
        (torch.zeros(3, 1), torch.zeros(2)),
    ):
        with pytest.raises(ValueError, match=r"outputs \[B, 1\] and targets \[B\] must fit"):
            squared_error(outputs, targets)
    with pytest.raises(ValueError, match="at least one query"):
        squared_error(torch.zeros(0, 1), torch.zeros(0))
