from __future__ import annotations

import math

import pytest
import torch

from twotower.losses import Temperature


def test_divides() -> None:
    assert Temperature(0.25)(torch.tensor([1.0, -2.0])).tolist() == [4.0, -8.0]


def test_a_fixed_temperature_is_a_buffer() -> None:
    temperature = Temperature(0.25)
    assert list(temperature.parameters()) == []
    assert temperature.value().item() == 0.25
    other = Temperature(0.5)
    other.load_state_dict(temperature.state_dict())
    assert other.value().item() == 0.25


@pytest.mark.parametrize("minimum", [0.0, 0.05])
def test_a_learned_temperature_starts_at_its_initial_value(minimum: float) -> None:
    temperature = Temperature(0.2, learned=True, minimum=minimum)
    assert temperature.value().item() == pytest.approx(0.2, rel=1e-6)
    other = Temperature(0.5, learned=True, minimum=minimum)
    other.load_state_dict(temperature.state_dict())
    assert other.value().item() == pytest.approx(0.2, rel=1e-6)


def test_a_learned_temperature_has_the_gradient_of_its_value() -> None:
    temperature = Temperature(0.5, learned=True, minimum=0.1).double()
    (parameter,) = temperature.parameters()
    score = torch.tensor(3.0, dtype=torch.float64)
    temperature(score).backward()
    step = 1e-6
    with torch.no_grad():
        start = parameter.clone()
        parameter.copy_(start + step)
        above = temperature(score).item()
        parameter.copy_(start - step)
        below = temperature(score).item()
    assert parameter.grad is not None
    assert parameter.grad.item() == pytest.approx((above - below) / (2 * step), rel=1e-6)


def test_a_learned_temperature_never_passes_its_minimum_and_comes_back() -> None:
    temperature = Temperature(0.2, learned=True, minimum=0.1)
    (parameter,) = temperature.parameters()
    with torch.no_grad():
        parameter.fill_(-5.0)
    assert 0.1 <= temperature.value().item() < 0.11
    temperature.value().backward()  # type: ignore[no-untyped-call]
    assert parameter.grad is not None
    assert parameter.grad.item() > 0
    free = Temperature(0.2, learned=True)
    with torch.no_grad():
        free.log_excess.fill_(-5.0)
    assert free.value().item() == pytest.approx(math.exp(-5), rel=1e-6)


@pytest.mark.parametrize(
    ("initial", "minimum"), [(0.0, 0.0), (-1.0, 0.0), (0.1, 0.1), (1.0, -0.5), (math.inf, 0.0), (math.nan, 0.0)]
)
def test_a_temperature_out_of_range_is_refused(initial: float, minimum: float) -> None:
    with pytest.raises(ValueError, match=r"finite and above its minimum"):
        Temperature(initial, minimum=minimum)


def test_is_shown_with_its_value() -> None:
    assert repr(Temperature(0.07, learned=True, minimum=0.01)) == "Temperature(0.07, learned=True, minimum=0.01)"
