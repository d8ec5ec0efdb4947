"""What ``[tune]`` may say of a key."""

from __future__ import annotations

from typing import Any

import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError
from twotower.runs.tune_config import TuneKeyConfig, flat_tune


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give low and high, or choices"),
        ({"low": 1}, "give low and high, or choices"),
        ({"low": 2, "high": 1}, "low must be less than high"),
        ({"low": 1, "high": 1}, "low must be less than high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log needs a low above 0"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "log and step"),
        ({"low": 0, "high": 10, "step": 3}, "whole number of steps"),
        ({"low": 0, "high": 10, "step": 2.5}, "step must be an integer"),
        ({"low": 0, "high": 10, "step": 0}, "step must be above 0"),
        ({"choices": [1]}, "at least two"),
        ({"choices": [1, 1]}, "each once"),
        ({"choices": [1, 2], "low": 1}, "not both"),
        ({"lo": 1, "high": 2}, "unknown key; did you mean 'low'"),
        ({"low": float("nan"), "high": 2.0}, "finite"),
    ],
)
def test_what_is_wrong_is_one_clear_fault(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TuneKeyConfig, values)


@pytest.mark.parametrize(
    ("values", "inside", "outside"),
    [
        ({"low": 1, "high": 9, "step": 2}, [1, 3, 9], [2, 10, 3.0, True, "3", None]),
        ({"low": 0.0, "high": 0.5, "step": 0.1}, [0.0, 0.3, 0.5], [0.25, 0.6]),
        ({"low": 0.001, "high": 0.1, "log": True}, [0.001, 0.05], [0.0, 0.2]),
        ({"choices": ["a", "b"]}, ["a"], ["c", 1]),
        ({"choices": [[32], [64, 32]]}, [(32,), (64, 32)], [(64,), 32]),
        ({"choices": [True, False]}, [True], [1]),
    ],
)
def test_what_a_range_holds(values: dict[str, Any], inside: list[Any], outside: list[Any]) -> None:
    config = parse_config(TuneKeyConfig, values)
    assert [value for value in inside if not config.holds(value)] == []
    assert [value for value in outside if config.holds(value)] == []


def test_integers_stay_integers() -> None:
    assert TuneKeyConfig(low=1, high=9).is_integer
    assert not TuneKeyConfig(low=1, high=9.0).is_integer
    assert TuneKeyConfig(choices=(1, 2.5, "a")).ends == (1, 2.5, "a")


def test_keys_may_be_written_as_tables() -> None:
    nested = {"loss": {"temperature": {"low": 0.1, "high": 1.0}, "kind": {"choices": ["full", "auto"]}}}
    assert list(flat_tune(nested)) == ["loss.temperature", "loss.kind"]
    assert flat_tune({"a.b": {"c": {"low": 1, "high": 2}}}) == {"a.b.c": {"low": 1, "high": 2}}
    assert flat_tune({"a": 3, "b": {}}) == {"a": 3, "b": {}}  # which the config then refuses
    assert flat_tune([1]) == [1]


def test_a_key_in_quotes_and_in_tables_is_one_key_too_many() -> None:
    low, high = {"low": 0.1, "high": 1.0}, {"low": 1.0, "high": 2.0}
    with pytest.raises(ConfigError) as caught:
        flat_tune({"loss.temperature": low, "loss": {"temperature": high, "kind": {"choices": ["full", "auto"]}}})
    assert caught.value.faults == (
        "tune: 'loss.temperature' comes twice, once in quotes and once as a table within tables: name it once",
    )
    with pytest.raises(ConfigError, match=r"tune: 'a\.b\.c' comes twice"):
        flat_tune({"a.b": {"c": low}, "a": {"b.c": high}})
