from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from twotower.optim import ExactAdagrad, LazyAdam, RowwiseAdagrad, clip_gradients
from twotower.optim.coalesced import coalesced, touched_rows


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


def test_the_rows_that_are_touched() -> None:
    rows, values = touched_rows(sparse([4, 2, 4], torch.tensor([[1.0], [2.0], [3.0]])))
    assert (rows.tolist(), values.tolist()) == ([2, 4], [[2.0], [4.0]])


NUMBERS = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])


@pytest.mark.parametrize("optimizer", [LazyAdam, ExactAdagrad, RowwiseAdagrad])
@pytest.mark.parametrize("native", ["1", "0"])
def test_a_gradient_of_single_numbers_has_no_rows(optimizer: type, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    table = torch.zeros(3, 3).requires_grad_()
    step = optimizer([table], lr=0.1)
    before = {name: value.clone() for name, value in step.state[table].items()}
    table.grad = NUMBERS.to_sparse()
    with pytest.raises(ValueError, match=r"1 sparse dimension; came 2 of 2.*to_sparse\(1\)"):
        step.step()
    assert not table.any()
    assert all(torch.equal(value, before[name]) for name, value in step.state[table].items()), "nothing is begun"
    table.grad = NUMBERS.to_sparse(1)
    step.step()
    assert (table < 0).any(1).tolist() == [True, False, True]


def test_single_numbers_that_are_there_twice_are_clipped_as_their_sum() -> None:
    table = torch.zeros(3, 3).requires_grad_()
    places, numbers = torch.tensor([[0, 0, 2], [2, 2, 0]]), torch.tensor([1.0, 2.0, 4.0])
    table.grad = torch.sparse_coo_tensor(places, numbers, (3, 3), check_invariants=True)
    assert clip_gradients([table], max_norm=1.0) == 5.0
    torch.testing.assert_close(table.grad.to_dense(), NUMBERS / 5)
