"""Row updates by the kernel against the same formula in float64."""

from __future__ import annotations

import pytest
import torch

from twotower.native import native_status
from twotower.optim import ExactAdagrad, RowwiseAdagrad
from twotower.optim.native_adagrad import update_rows

pytestmark = pytest.mark.skipif(not native_status("adagrad").available, reason="there is no C compiler")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("dim", [1, 7, 16, 33, 128])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_rows_move_as_the_formula_says(
    count: int, dim: int, by_row: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.optim.native_adagrad._LEAST_NUMBERS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(count + dim)
    table, gradient = torch.randn(50, dim, generator=generator), torch.randn(count, dim, generator=generator)
    accumulators = torch.rand(50 if by_row else (50, dim), generator=generator)
    rows = torch.randperm(50, generator=generator)[:count]
    sums, weights = accumulators.double(), table.double()
    squares = gradient.double().square()
    sums[rows] += squares.mean(1) if by_row else squares
    roots = sums[rows].sqrt() + 1e-3
    weights[rows] -= 0.3 * gradient.double() / (roots[:, None] if by_row else roots)
    untouched = torch.ones(50, dtype=torch.bool)
    untouched[rows] = False
    before = table[untouched].clone()
    assert update_rows(table, accumulators, rows, gradient, 0.3, 1e-3, by_row=by_row)
    torch.testing.assert_close(table.double(), weights, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(accumulators.double(), sums, rtol=1e-5, atol=1e-6)
    assert torch.equal(table[untouched], before)


@pytest.mark.parametrize("kind", [ExactAdagrad, RowwiseAdagrad])
def test_optimisers_use_it_and_do_without(kind: type[ExactAdagrad], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for native in ("1", "0"):
        monkeypatch.setenv("TWOTOWER_NATIVE", native)
        table = torch.nn.Embedding(20, 24, sparse=True)
        with torch.no_grad():
            table.weight.copy_(torch.randn(20, 24, generator=torch.Generator().manual_seed(1)))
        optimizer = kind(table.parameters(), lr=0.1, initial_accumulator_value=0.1)
        for step in range(3):
            optimizer.zero_grad()
            rows = torch.randint(0, 20, (15,), generator=torch.Generator().manual_seed(step))
            table(rows).square().sum().backward()
            optimizer.step()
        found.append((table.weight.detach(), optimizer.state[table.weight]["accumulator"]))
    for kernel, torchs in zip(*found, strict=True):
        torch.testing.assert_close(kernel, torchs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_is_not_there_changes_nothing(row: int) -> None:
    table, accumulators = torch.ones(5, 4), torch.ones(5)
    with pytest.raises(IndexError, match=r"rows of a table of 5 must be in \[0, 5\)"):
        update_rows(table, accumulators, torch.tensor([0, row]), torch.ones(2, 4), 0.1, 1e-7, by_row=True)
    assert torch.equal(table, torch.ones(5, 4))
    assert torch.equal(accumulators, torch.ones(5))


def test_what_the_kernel_does_not_take() -> None:
    rows, gradient = torch.tensor([0]), torch.ones(1, 4)
    for table, accumulators in (
        (torch.ones(5, 4, dtype=torch.float64), torch.ones(5)),
        (torch.ones(4, 5).T, torch.ones(5)),
        (torch.ones(5, 4), torch.ones(5, 4)),
        (torch.ones(5, 4), torch.ones(4)),
        (torch.ones(5, 2, 2), torch.ones(5)),
    ):
        assert not update_rows(table, accumulators, rows, gradient, 0.1, 1e-7, by_row=True)
    table, accumulators = torch.ones(5, 4), torch.ones(5)
    assert not update_rows(table, accumulators, rows.int(), gradient, 0.1, 1e-7, by_row=True)
    assert not update_rows(table, accumulators, torch.tensor([0, 1]), gradient, 0.1, 1e-7, by_row=True)


def test_a_graph_that_holds_the_table_notices() -> None:
    table = torch.nn.Parameter(torch.ones(5, 4))
    loss = table.square().sum()
    with torch.no_grad():
        assert update_rows(table, torch.ones(5), torch.tensor([0]), torch.ones(1, 4), 0.1, 1e-7, by_row=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # type: ignore[no-untyped-call]
