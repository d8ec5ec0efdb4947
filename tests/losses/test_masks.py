from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from twotower.losses.masks import count_own_once_, mask_pairs_

POSITIVES = torch.tensor([0, 2])


def logits() -> Tensor:
    return torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_masks_dense_and_as_pairs_write_minus_infinity() -> None:
    expected = [[1.0, -math.inf, 3.0], [-math.inf, 5.0, 6.0]]
    mask = torch.tensor([[False, True, False], [True, False, False]])
    assert mask_pairs_(logits(), mask, POSITIVES).tolist() == expected
    pairs = (torch.tensor([1, 0, 1]), torch.tensor([0, 1, 0]))  # one of them twice
    assert mask_pairs_(logits(), pairs, POSITIVES).tolist() == expected


def test_masking_is_in_place() -> None:
    given = logits()
    assert mask_pairs_(given, torch.ones(2, 3, dtype=torch.bool), POSITIVES) is given
    assert given.tolist() == [[1.0, -math.inf, -math.inf], [-math.inf, -math.inf, 6.0]]


def test_no_pairs_mask_nothing() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(mask_pairs_(logits(), (none, none), POSITIVES), logits())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.bool), r"bool of shape \(2, 3\); came torch.bool of \(2, 2\)"),
        (torch.zeros(2, 3), r"came torch.float32 of \(2, 3\)"),
        ((torch.zeros(1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)), r"equal length; came \(1,\) and \(2,\)"),
        ((torch.tensor([0, 2]), torch.tensor([0, 0])), r"rows must be in \[0, 2\); came 0 to 2"),
        ((torch.tensor([0, 1]), torch.tensor([-1, 1])), r"columns must be in \[0, 3\); came -1 to 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Tensor | tuple[Tensor, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_pairs_(logits(), mask, POSITIVES)


def test_own_items_are_counted_once() -> None:
    counts = torch.tensor([3.0, 4.0, 5.0])
    given = torch.zeros(2, 3) + counts.log()
    assert count_own_once_(given, POSITIVES, counts.log()) is given
    expected = [[1.0, 4.0, 5.0], [3.0, 4.0, 1.0]]
    for row, wanted in zip(given.exp().tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-6)


def test_gradients_pass_through_what_is_left() -> None:
    vectors = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    masked = mask_pairs_(vectors * 2, (torch.tensor([0]), torch.tensor([1])), torch.tensor([0]))
    count_own_once_(masked, torch.tensor([0]), torch.tensor([0.5, 0.0, 0.0]))
    (gradient,) = torch.autograd.grad(masked.softmax(1)[0, 0], vectors)
    p = 1 / (1 + math.exp(6 - 1.5))
    assert gradient[0].tolist() == pytest.approx([2 * p * (1 - p), 0.0, -2 * p * (1 - p)], rel=1e-5)
    assert gradient[0, 1].item() == 0
