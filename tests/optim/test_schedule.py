from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from twotower.optim import OptimizerConfig, ScheduleConfig, apply_learning_rate_factor, build_optimizers, learning_rate_factor


def factors(config: ScheduleConfig, total: int, steps: int | None = None) -> list[float]:
    return [learning_rate_factor(step, total, config) for step in range(steps or total)]


def test_by_default_nothing_changes() -> None:
    assert factors(ScheduleConfig(), 4) == [1.0] * 4


def test_warm_up_rises_to_the_full_rate() -> None:
    assert factors(ScheduleConfig(warmup_steps=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_linear_decay_ends_at_its_fraction() -> None:
    config = ScheduleConfig(decay="linear", final_fraction=0.2)
    assert factors(config, 4, 6) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_cosine_decay_after_the_warm_up() -> None:
    config = ScheduleConfig(warmup_steps=2, decay="cosine", final_fraction=0.1)
    wave = [0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2 for part in (0, 0.25, 0.5, 0.75, 1, 1)]
    assert factors(config, 6, 8) == pytest.approx([0.5, 1.0, *wave])


def test_the_constant_one_has_no_fraction_to_end_at() -> None:
    assert factors(ScheduleConfig(), 2, 4) == [1.0] * 4
    with pytest.raises(ValueError, match="final_fraction needs decay"):
        ScheduleConfig(final_fraction=0.5)


@pytest.mark.parametrize("total", [1, 3, 4])
def test_a_training_may_be_all_warm_up(total: int) -> None:
    config = ScheduleConfig(warmup_steps=4, decay="linear", final_fraction=0.5)
    assert factors(config, total) == [0.25, 0.5, 0.75, 1.0][:total]
    assert learning_rate_factor(10, total, config) == 0.5


@given(
    st.integers(0, 50),
    st.integers(1, 40),
    st.integers(0, 10),
    st.sampled_from(["constant", "linear", "cosine"]),
    st.floats(0, 1),
)
def test_stays_between_0_and_1_and_only_falls_after_the_warm_up(
    step: int, total: int, warmup: int, decay: str, fraction: float
) -> None:
    ends = {} if decay == "constant" else {"final_fraction": fraction}
    config = ScheduleConfig.model_validate({"warmup_steps": warmup, "decay": decay, **ends})
    now, later = learning_rate_factor(step, total, config), learning_rate_factor(step + 1, total, config)
    assert 0 <= now <= 1
    assert later >= now if step + 1 < warmup else later <= now


@pytest.mark.parametrize(("step", "total"), [(-1, 5), (0, 0)])
def test_numbers_out_of_range_are_refused(step: int, total: int) -> None:
    with pytest.raises(ValueError, match=rf"came {step} and {total}"):
        learning_rate_factor(step, total, ScheduleConfig())


def test_the_factor_applies_to_each_groups_own_rate() -> None:
    table, layer = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
    config = OptimizerConfig(kind="adamw", learning_rate=0.01, sparse_learning_rate=0.5)
    optimizers = build_optimizers([("table", table), ("layer", layer)], config, sparse_parameter_names={"table"})
    for factor in (0.5, 0.1):  # of the initial rate, not of the last
        apply_learning_rate_factor(optimizers, factor)
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        assert rates == pytest.approx([0.01 * factor, 0.5 * factor])
    with pytest.raises(ValueError, match=r"finite and not negative; came -1"):
        apply_learning_rate_factor(optimizers, -1)
