from __future__ import annotations

import pytest
import torch

from twotower.training.random_state import borrowed_random_state, seed_step

CPU = torch.device("cpu")


def drawn(seed: int, step: int) -> list[float]:
    with borrowed_random_state(CPU) as generators:
        torch.rand(3)
        seed_step(generators, seed=seed, step=step)
        return torch.rand(4).tolist()


def test_what_a_step_draws_is_a_function_of_the_seed_and_the_step() -> None:
    assert drawn(1, 5) == drawn(1, 5)
    assert len({tuple(drawn(seed, step)) for seed in range(4) for step in range(4)}) == 16


def test_the_state_is_put_back_after_an_error_too() -> None:
    before = torch.get_rng_state()
    drawn(0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ZeroDivisionError), borrowed_random_state(CPU):
        _ = torch.rand(3) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), before)
