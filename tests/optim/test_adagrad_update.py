from __future__ import annotations

import pytest
import torch

from twotower.optim.adagrad_update import update_in_place


@pytest.mark.parametrize("sparse", [True, False])
def test_one_step_by_hand(sparse: bool) -> None:
    table = torch.nn.Parameter(torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64))
    accumulator = torch.tensor([4.0, 7.0], dtype=torch.float64)
    gradient = torch.tensor([[3.0, 6.0], [0.0, 0.0]], dtype=torch.float64)
    table.grad = gradient.to_sparse(1) if sparse else gradient
    with torch.no_grad():
        update_in_place(table, accumulator, lambda g: g.square().amax(1), 0.5, 0.0)
    assert accumulator.tolist() == [40.0, 7.0]
    assert table[1].tolist() == [1.0, 1.0]
    assert table[0].tolist() == pytest.approx([1 - 1.5 / 40**0.5, 1 - 3 / 40**0.5], rel=1e-12)


def test_rows_that_occur_twice_are_added_up_before_they_are_squared() -> None:
    table = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
    accumulator = torch.zeros(3, dtype=torch.float64)
    table.grad = torch.sparse_coo_tensor(
        torch.tensor([[2, 0, 2]]),
        torch.tensor([[1.0, 1.0], [5.0, 5.0], [2.0, 2.0]], dtype=torch.float64),
        (3, 2),
        check_invariants=True,
    )
    with torch.no_grad():
        update_in_place(table, accumulator, lambda g: g.square().mean(1), 0.5, 1e-9)
    assert accumulator.tolist() == [25.0, 0.0, 9.0]
    torch.testing.assert_close(table.detach()[:, 0], torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64))
