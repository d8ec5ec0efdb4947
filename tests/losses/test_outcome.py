"""What every loss of an outcome promises to training."""

from __future__ import annotations

import pytest
import torch

from twotower.losses import OutcomeLoss, cumulative_cross_entropy, squared_error

CASES: dict[str, tuple[OutcomeLoss, torch.Tensor, torch.Tensor]] = {
    "squared error": (squared_error, torch.tensor([[0.5], [2.0], [-1.0]]), torch.tensor([0.0, 1.0, 2.0])),
    "cumulative": (
        cumulative_cross_entropy,
        torch.tensor([[1.0, -1.0], [0.5, 0.0], [2.0, 1.0]]),
        torch.tensor([0, 1, 2]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_are_weighed_and_reduced_alike(case: str) -> None:
    loss, outputs, targets = CASES[case]
    weights = torch.tensor([1.0, 2.0, 0.0])
    rows = loss(outputs, targets, reduction="none")
    assert rows.shape == (3,)
    assert bool((rows >= 0).all())
    torch.testing.assert_close(loss(outputs, targets), rows.mean())
    torch.testing.assert_close(loss(outputs, targets, reduction="sum"), rows.sum())
    torch.testing.assert_close(loss(outputs, targets, weights_B=weights), (rows * weights).sum() / 3.0)
    torch.testing.assert_close(loss(outputs[:2], targets[:2], weights_B=weights[:2]), (rows * weights).sum() / 3.0)
