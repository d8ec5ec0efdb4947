"""Adam with lazy moments against torch's Adam on the rows that are touched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.native import native_status
from twotower.optim import LazyAdam

V, D = 30, 20
OPTIONS = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}


def table(dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(V, D, generator=torch.Generator().manual_seed(1)).to(dtype))


def sparse(rows: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(rows[None], values, (V, D), check_invariants=True)


@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("threads", [1, 3])
def test_where_all_rows_are_touched_it_is_adam(threads: int, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    monkeypatch.setattr("twotower.optim.lazy_adam._LEAST_NUMBERS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(2)
    ours, dense, exact = table(), table(), table(torch.float64)
    lazy, lazy_dense = LazyAdam([ours], **OPTIONS), LazyAdam([dense], **OPTIONS)  # type: ignore[arg-type]
    adam = torch.optim.Adam([exact], **OPTIONS)  # type: ignore[arg-type]
    for _ in range(5):
        gradient = torch.randn(V, D, generator=generator)
        rows = torch.randperm(V, generator=generator)
        ours.grad, dense.grad, exact.grad = sparse(rows, gradient[rows]), gradient, gradient.double()
        for optimizer in (lazy, lazy_dense, adam):
            optimizer.step()
        for found in (ours, dense):
            torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lazy.state[ours]["exp_avg_sq"].double(), adam.state[exact]["exp_avg_sq"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("native", ["1", "0"])
def test_touched_rows_move_as_adam_moves_them_and_others_not_at_all(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    generator, found = torch.Generator().manual_seed(3), table()
    optimizer = LazyAdam([found], **OPTIONS)  # type: ignore[arg-type]
    means, squares, weights = torch.zeros(V, D).double(), torch.zeros(V, D).double(), found.detach().double()
    for step in range(1, 6):
        drawn = torch.randint(0, V, (12,), generator=generator)  # some rows twice: added up before they are squared
        values = torch.randn(12, D, generator=generator)
        before = found.detach().clone()
        found.grad = sparse(drawn, values)
        optimizer.step()
        rows = torch.tensor(sorted(set(drawn.tolist())))
        total = torch.zeros(V, D).double().index_add_(0, drawn, values.double())[rows]
        means[rows] = 0.8 * means[rows] + 0.2 * total
        squares[rows] = 0.95 * squares[rows] + 0.05 * total.square()
        roots = (squares[rows] / (1 - 0.95**step)).sqrt() + 1e-6
        weights[rows] -= 0.05 * means[rows] / (1 - 0.8**step) / roots
        torch.testing.assert_close(found.double(), weights, rtol=1e-4, atol=1e-5)
        others = [row for row in range(V) if row not in rows.tolist()]
        assert torch.equal(found[others], before[others])


@pytest.mark.skipif(not native_status("adam").available, reason="there is no C compiler")
def test_a_row_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = table()
    optimizer = LazyAdam([found])
    wrong = torch.tensor([0, V])
    found.grad = sparse(torch.tensor([0]), torch.ones(1, D))
    monkeypatch.setattr("twotower.optim.lazy_adam.touched_rows", lambda _: (wrong, torch.ones(2, D)))  # torch would refuse it
    before = found.detach().clone()
    with pytest.raises(IndexError, match=rf"rows of a table of {V} must be in \[0, {V}\); came 0 to {V}"):
        optimizer.step()
    assert torch.equal(found, before)


def test_values_of_another_width_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = table()
    optimizer = LazyAdam([found])
    found.grad = sparse(torch.tensor([0]), torch.ones(1, D))
    monkeypatch.setattr("twotower.optim.lazy_adam.touched_rows", lambda _: (torch.tensor([0]), torch.ones(1, D - 1)))
    before = found.detach().clone()
    with pytest.raises(RuntimeError, match="size"):
        optimizer.step()
    assert torch.equal(found, before)


def test_a_saved_state_goes_on_with_the_same_bits() -> None:
    def train(steps: range, state: dict[str, object] | None, weights: Tensor | None) -> tuple[Tensor, dict[str, object]]:
        found = table()
        if weights is not None:
            found.data.copy_(weights)
        optimizer = LazyAdam([found], **OPTIONS)  # type: ignore[arg-type]
        if state is not None:
            optimizer.load_state_dict(state)
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            rows = torch.randint(0, V, (9,), generator=generator)
            found.grad = sparse(rows, torch.randn(9, D, generator=generator))
            optimizer.step()
        return found.detach(), optimizer.state_dict()

    whole, _ = train(range(6), None, None)
    half, state = train(range(3), None, None)
    rest, _ = train(range(3, 6), state, half)
    assert torch.equal(whole, rest)


def test_a_closure_is_called() -> None:
    found = table()
    optimizer = LazyAdam([found])

    def closure() -> float:
        found.grad = torch.ones(V, D)
        return 1.5

    assert optimizer.step(closure) == 1.5


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}, {"eps": 0.0}])
def test_numbers_out_of_their_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lr must be at least 0"):
        LazyAdam([table()], **options)  # type: ignore[arg-type]
