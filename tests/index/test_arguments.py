"""What builds and searches are given: which values are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index.arguments import check_search, checked_vectors, require_whole
from twotower.types import Ragged


def search(queries: Tensor, k: Any = 1, excluded: Ragged | None = None, allowed: Tensor | None = None) -> Tensor:
    return check_search(queries, k, excluded, allowed, num_vectors=5, embedding_dim=2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_vectors_and_queries_must_be_finite(bad: float) -> None:
    with pytest.raises(DataError, match=r"vectors must be finite float32; 2 of 3 are not, the first at row 1, 2"):
        checked_vectors(torch.tensor([[1.0, 2.0], [1.0, bad], [bad, bad]]))
    with pytest.raises(DataError, match=r"queries must be finite float32; 1 of 2 are not, the first at row 1"):
        search(torch.tensor([[1.0, 2.0], [1.0, bad]]))


def test_what_float32_can_not_hold_is_not_finite() -> None:
    with pytest.raises(DataError, match="1 of 1 are not"):
        checked_vectors(torch.tensor([[1e300]], dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 2, 2)])
def test_vectors_have_two_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"vectors must have the shape \[N, D\] with D >= 1 \(came: \[3"):
        checked_vectors(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 1), (1, 2, 2)])
def test_queries_have_the_width_of_the_vectors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"queries must have the shape \[B, 2\] \(came: \["):
        search(torch.zeros(shape))


def test_integers_are_no_vectors() -> None:
    with pytest.raises(ValueError, match=r"vectors must be floats \(came: torch.int64\)"):
        checked_vectors(torch.zeros(5, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"queries must be floats \(came: torch.int64\)"):
        search(torch.zeros(1, 2, dtype=torch.int64))


def test_float32_comes_back_without_a_gradient() -> None:
    for found in (search(torch.ones(1, 2, dtype=torch.float64, requires_grad=True)), checked_vectors(torch.ones(1, 2).half())):
        assert (found.dtype, found.requires_grad, found.tolist()) == (torch.float32, False, [[1.0, 1.0]])


@pytest.mark.parametrize("k", [0, -1, True, 2.0])
def test_k_is_a_positive_integer(k: Any) -> None:
    with pytest.raises(ValueError, match="k must be an integer of at least 1"):
        search(torch.zeros(1, 2), k)


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        ([0.0], [0, 1], r"excluded rows must be integers \(came: torch.float32\)"),
        ([0], [0, 1, 1], r"one row per query: 1 \(came: 2\)"),
        ([0, 1], [0, 1], "must rise from 0 to 2"),
        ([0, 1], [1, 2], "must rise from 0 to 2"),
        ([5], [0, 1], r"excluded rows must be in \[0, 5\) \(came: \[5\]\)"),
        ([-1], [0, 1], r"excluded rows must be in \[0, 5\) \(came: \[-1\]\)"),
    ],
)
def test_what_excluded_may_be(values: list[float], offsets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(torch.zeros(1, 2), excluded=Ragged(torch.tensor(values), torch.tensor(offsets)))


def test_offsets_of_excluded_must_not_fall() -> None:
    with pytest.raises(ValueError, match="must rise from 0 to 2"):
        search(torch.zeros(3, 2), excluded=Ragged(torch.tensor([0, 1]), torch.tensor([0, 2, 1, 2])))


@pytest.mark.parametrize("allowed", [torch.ones(4, dtype=torch.bool), torch.ones(5), torch.ones(1, 5, dtype=torch.bool)])
def test_what_allowed_may_be(allowed: Tensor) -> None:
    with pytest.raises(ValueError, match=r"allowed must be bool of shape \[5\], one per vector \(came: torch\."):
        search(torch.zeros(1, 2), allowed=allowed)


@pytest.mark.parametrize("number", [1, True, 2.0, "3"])
def test_whole_numbers_are_named(number: Any) -> None:
    require_whole(2, good=2, other=10)
    with pytest.raises(ValueError, match=r"beam must be an integer of at least 2 \(came: "):
        require_whole(2, good=2, beam=number)
