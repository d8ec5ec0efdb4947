"""Pooling by the kernel against the loop."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from twotower.native import native_status
from twotower.nn.native_pool import can_pool, native_pool
from twotower.nn.pooling import look_up_rows

pytestmark = pytest.mark.skipif(not native_status("pool").available, reason="there is no C compiler")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("dim", [1, 15, 16, 31, 64, 100, 208])
@pytest.mark.parametrize("bags", [0, 1, 50])
def test_value_and_gradient_are_those_of_torch(
    bags: int, dim: int, mean: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.nn.native_pool._LEAST_NUMBERS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(bags + dim)
    lengths = torch.randint(0, 30, (bags,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    values = torch.randint(0, 20, (int(offsets[-1]),), generator=generator)
    table_VD = torch.randn(20, dim, generator=generator)
    ours, exact = table_VD.clone().requires_grad_(), table_VD.double().requires_grad_()
    weights_BD = torch.randn(bags, dim, generator=generator)
    assert can_pool(ours, values, offsets)
    found = native_pool(ours, values, offsets, mean=mean)
    expected = F.embedding_bag(values, exact, offsets, mode="mean" if mean else "sum", include_last_offset=True)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    found.backward(weights_BD)  # type: ignore[no-untyped-call]
    expected.backward(weights_BD.double())  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=2e-5)


def test_the_same_bits_however_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.nn.native_pool._LEAST_NUMBERS", 0)
    generator = torch.Generator().manual_seed(0)
    values, offsets = torch.randint(0, 20, (3000,), generator=generator), torch.arange(0, 3001, 30)
    table_VD, weights_BD = torch.randn(20, 80, generator=generator), torch.randn(100, 80, generator=generator)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        leaf = table_VD.clone().requires_grad_()
        pooled = native_pool(leaf, values, offsets, mean=True)
        pooled.backward(weights_BD)  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        found.append((pooled.detach(), leaf.grad))
    assert all(torch.equal(one, other) for pair in found[1:] for one, other in zip(found[0], pair, strict=True))


@pytest.mark.parametrize("value", [-1, 20])
def test_a_value_that_is_no_row(value: int) -> None:
    with pytest.raises(IndexError, match=r"rows of a table of 20 must be in \[0, 20\)"):
        native_pool(torch.zeros(20, 4), torch.tensor([0, value]), torch.tensor([0, 2]), mean=False)


def test_what_the_kernel_does_not_take() -> None:
    table_VD, values, offsets = torch.zeros(3, 2), torch.tensor([0]), torch.tensor([0, 1])
    assert can_pool(table_VD, values, offsets)
    assert not can_pool(table_VD.double(), values, offsets)
    assert not can_pool(table_VD, values.int(), offsets)
    assert not can_pool(table_VD, values, offsets.int())


def test_rows_that_are_looked_up_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 9, (70,), generator=generator)
    table_VD, weights_BD = torch.randn(9, 20, generator=generator), torch.randn(70, 20, generator=generator)
    found = []
    for native, dtype in (("1", torch.int64), ("1", torch.int32), ("0", torch.int64)):
        monkeypatch.setenv("TWOTOWER_NATIVE", native)
        leaf = table_VD.clone().requires_grad_()
        looked_up = look_up_rows(leaf, rows.to(dtype))
        looked_up.backward(weights_BD)  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        found.append((looked_up.detach(), leaf.grad))
        assert type(looked_up.grad_fn).__name__ == ("_PoolBackward" if native == "1" else "EmbeddingBackward0")
    for other in found[1:]:
        assert torch.equal(other[0], found[0][0])
        torch.testing.assert_close(other[1], found[0][1])
