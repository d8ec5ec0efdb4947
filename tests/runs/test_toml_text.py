"""What is written as TOML is read back as it was."""

from __future__ import annotations

import tomllib

import pytest

from twotower.runs.toml_text import toml_key, toml_value


@pytest.mark.parametrize(
    "value",
    ["", 'a "b"', "back\\slash", "tab\tline\n\x00\x1f\x7f", "ä €😀", 1, -2.5, 1e-7, True, False, [], [1, 2], ["a", ["b"]]],
)
def test_values_come_back(value: object) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
    assert tomllib.loads(f"x = {toml_value({'k': value})}")["x"] == {"k": value}


@pytest.mark.parametrize("name", ["a_b-c", "", "two words", "a.b", 'q"q', "ä", "#"])
def test_keys_come_back(name: str) -> None:
    assert tomllib.loads(f"{toml_key(name)} = 1") == {name: 1}
    assert tomllib.loads(f"x = {toml_value({name: 1})}") == {"x": {name: 1}}
