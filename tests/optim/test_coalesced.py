from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from twotower.optim.coalesced import coalesced


def sparse(rows: list[int], values: Tensor, size: int = 7) -> Tensor:
    shape = (size, *values.shape[1:])
    return torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, shape, check_invariants=True)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=12), st.sampled_from([(3,), (2, 2), ()]))
def test_equal_rows_are_added_up(rows: list[int], width: tuple[int, ...]) -> None:
    values = torch.randn(len(rows), *width, dtype=torch.float64, generator=torch.Generator().manual_seed(len(rows)))
    found = coalesced(sparse(rows, values))
    expected = torch.zeros(7, *width, dtype=torch.float64)
    for row, value in zip(rows, values, strict=True):
        expected[row] += value
    assert found.is_coalesced()
    assert found.indices()[0].tolist() == sorted(set(rows))
    torch.testing.assert_close(found.to_dense(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_keeps_type_and_shape(dtype: torch.dtype) -> None:
    found = coalesced(sparse([5, 5, 1], torch.ones(3, 4, dtype=dtype), size=50_000_000))
    assert (found.dtype, found.shape) == (dtype, (50_000_000, 4))
    assert found.indices().tolist() == [[1, 5]]
    assert found.values()[:, 0].tolist() == [1.0, 2.0]


def test_what_is_coalesced_is_returned_itself() -> None:
    gradient = sparse([4, 2, 4], torch.ones(3, 2)).coalesce()
    assert coalesced(gradient) is gradient
