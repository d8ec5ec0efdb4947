from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from twotower.filled import Filled
from twotower.nn import pool_rows
from twotower.nn.pooling import look_up_rows
from twotower.types import Ragged

ROWS = [[3, 1, 3], [], [0], [4, 4], [2, 1, 0, 4]]
Pooling = Literal["mean", "sum", "sqrt_n"]
DIVISORS = {"mean": lambda n: n, "sum": lambda n: n**0, "sqrt_n": lambda n: n**0.5}


def ragged(rows: list[list[int]], dtype: torch.dtype = torch.int64) -> Ragged:
    lengths = torch.tensor([0] + [len(row) for row in rows])
    return Ragged(torch.tensor([value for row in rows for value in row], dtype=dtype), lengths.cumsum(0))


def table() -> torch.Tensor:
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_pooling_is_the_loop(pooling: Pooling, dtype: torch.dtype) -> None:
    table_VD = table()
    expected = [
        [sum(float(table_VD[row, d]) for row in rows) / DIVISORS[pooling](max(len(rows), 1)) for d in range(3)] for rows in ROWS
    ]
    pooled_BD = pool_rows(table_VD, ragged(ROWS, dtype), pooling)
    torch.testing.assert_close(pooled_BD, torch.tensor(expected, dtype=torch.float64))
    assert pooled_BD[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
def test_sparse_gradients_are_the_dense_ones(pooling: Pooling) -> None:
    gradients = []
    for sparse in (False, True):
        weight = table().requires_grad_()
        weights_BD = torch.arange(15, dtype=torch.float64).reshape(5, 3)
        pool_rows(weight, ragged(ROWS), pooling, sparse=sparse).backward(weights_BD)  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert weight.grad.is_sparse == sparse
        gradients.append(weight.grad.to_dense())
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
def test_rows_that_are_all_empty_give_zeros(pooling: Pooling) -> None:
    assert pool_rows(table(), ragged([[], []]), pooling).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert pool_rows(table(), ragged([]), pooling).shape == (0, 3)


def test_a_sparse_gradient_has_each_row_once_and_no_other() -> None:
    for rows, touched, weights in ((ROWS, [0, 1, 2, 3, 4], None), ([[4, 1], [4]], [1, 4], [1.0, 2.0])):
        weight = table().requires_grad_()
        pool_rows(weight, ragged(rows), "sum", sparse=True).sum().backward()  # type: ignore[no-untyped-call]
        gradient = weight.grad
        assert gradient is not None
        assert gradient._indices().tolist() == [touched]
        assert weights is None or gradient._values()[:, 0].tolist() == weights


def test_a_table_that_two_inputs_share_gets_the_gradient_of_both() -> None:
    gradients = []
    for sparse in (False, True):
        weight = table().requires_grad_()
        pooled_BD = pool_rows(weight, ragged(ROWS), "mean", sparse=sparse)
        own_BD = torch.nn.functional.embedding(torch.tensor([4, 0, 4, 1, 2]), weight, sparse=sparse)
        (pooled_BD * own_BD).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        gradients.append(weight.grad.to_dense())
    torch.testing.assert_close(gradients[0], gradients[1])


def test_no_values_at_all_have_a_gradient_of_no_rows() -> None:
    weight = table().requires_grad_()
    pool_rows(weight, ragged([[], []]), "mean", sparse=True).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.to_dense().abs().sum() == 0


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrt_n"])
def test_without_gradients_the_values_are_the_same(sparse: bool, pooling: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    table_VD = torch.randn(50, 9, generator=generator, requires_grad=True)
    lengths = torch.randint(0, 6, (20,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    rows = Ragged(torch.randint(0, 50, (int(offsets[-1]),), generator=generator), offsets)
    learned = pool_rows(table_VD, rows, pooling, sparse=sparse), look_up_rows(table_VD, rows.values, sparse=sparse)
    with torch.inference_mode():
        served = pool_rows(table_VD, rows, pooling, sparse=sparse), look_up_rows(table_VD, rows.values, sparse=sparse)
    assert all(torch.equal(one, other) for one, other in zip(learned, served, strict=True))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt_n"])
@pytest.mark.parametrize("rows", [ROWS, [[], [1], []], [[], []], [[2, 2]], []], ids=str)
@pytest.mark.parametrize("more", [0, 1, 9])
def test_what_fills_is_pooled_by_nobody(rows: list[list[int]], pooling: Pooling, sparse: bool, more: int) -> None:
    column = ragged(rows)
    values = torch.cat([column.values, torch.full((more,), 3)])
    weights_BD = torch.arange(3.0 * len(rows), dtype=torch.float64).reshape(-1, 3) + 1
    found = []
    for each in (column, Filled(values, column.offsets)):
        weight = table().requires_grad_()
        pooled_BD = pool_rows(weight, each, pooling, sparse=sparse)
        pooled_BD.backward(weights_BD)  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert weight.grad.is_sparse == (sparse and (len(rows) > 0 or weight.grad.is_sparse))
        found.append((pooled_BD.detach(), weight.grad.to_dense()))
    torch.testing.assert_close(found[1], found[0])
