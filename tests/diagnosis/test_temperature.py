from __future__ import annotations

from dataclasses import replace

import pytest

from twotower.diagnosis import SoftmaxScale, check_temperature

FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
FLAT = (3.5, 3.6, 3.8, 4.0, 4.3, 4.5, 4.6)  # lower the lower the temperature
SHARP = tuple(reversed(FLAT))
FITTING = (6.0, 5.0, 4.2, 4.0, 4.2, 4.4, 4.6)
SOUND = SoftmaxScale(
    temperature=0.1,
    learned=False,
    normalised=True,
    factors=FACTORS,
    train=FITTING,
    held_out=FITTING,
    confidence=0.1,
    entropy=0.8,
)


def test_a_temperature_at_the_lowest_loss_is_no_finding() -> None:
    assert check_temperature(SOUND) is None
    assert check_temperature(replace(SOUND, held_out=None)) is None


@pytest.mark.parametrize("held_out", [FLAT, None])
def test_too_high(held_out: tuple[float, ...] | None) -> None:
    finding = check_temperature(replace(SOUND, train=FLAT, held_out=held_out, temperature=2.0))
    assert finding is not None
    assert "too high" in finding.title
    assert finding.fix[0].startswith("loss.temperature = 0.25,")


def test_too_high_only_where_train_and_held_out_rows_say_so_and_it_matters() -> None:
    assert check_temperature(replace(SOUND, train=FLAT)) is None
    assert check_temperature(replace(SOUND, held_out=FLAT)) is None
    level = (3.99, 3.99, 3.995, 4.0, 4.1, 4.2, 4.3)
    assert check_temperature(replace(SOUND, train=level, held_out=level)) is None


def test_too_low_where_train_rows_are_known_by_heart() -> None:
    saturated = replace(SOUND, held_out=SHARP, confidence=0.95)
    finding = check_temperature(saturated)
    assert finding is not None
    assert "too low" in finding.title
    assert finding.fix[0].startswith("loss.temperature = 0.8,")
    assert check_temperature(replace(saturated, confidence=0.5)) is None


def test_too_low_where_even_train_rows_would_be_better_off() -> None:
    assert check_temperature(replace(SOUND, train=SHARP, held_out=SHARP)) is not None
    assert check_temperature(replace(SOUND, train=SHARP, held_out=FITTING)) is None


def test_lengths_that_were_learned_are_not_the_temperatures_fault() -> None:
    free = replace(SOUND, held_out=SHARP, confidence=0.95, normalised=False)
    assert check_temperature(free) is not None
    assert check_temperature(replace(free, temperature=1.0)) is None
