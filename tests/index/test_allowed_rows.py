"""Masks, counted and gathered."""

from __future__ import annotations

import torch

from twotower.index.allowed_rows import allowed_rows, count_allowed, take_vectors


def test_a_mask() -> None:
    mask = torch.tensor([False, True, True, False, True])
    assert count_allowed(mask) == 3
    assert allowed_rows(mask).tolist() == [1, 2, 4]
    assert allowed_rows(mask).dtype == torch.int64
    assert count_allowed(mask[::2]) == 2
    assert allowed_rows(mask[::2]).tolist() == [1, 2]


def test_nothing_allowed_and_nothing_there() -> None:
    for mask in (torch.zeros(4, dtype=torch.bool), torch.empty(0, dtype=torch.bool)):
        assert count_allowed(mask) == 0
        assert allowed_rows(mask).tolist() == []


def test_vectors_are_gathered() -> None:
    vectors_ND = torch.arange(8.0).view(4, 2)
    taken = take_vectors(vectors_ND, torch.tensor([2, 0]))
    assert taken.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    taken.zero_()
    assert vectors_ND.sum() == 28
