"""Grids of settings: how they are written, combined and named."""

from __future__ import annotations

import pytest

from twotower.errors import ConfigError
from twotower.runs.grid import Axis, parse_axis, settings_of


def test_semicolons_separate_but_for_those_within_brackets_and_quotes() -> None:
    assert parse_axis("model.layer_sizes=[32];[64, 32]; [128,64,32]") == Axis(
        "model.layer_sizes", ("[32]", "[64, 32]", "[128,64,32]")
    )
    assert parse_axis("loss={kind='full'; x=1};2").values == ("{kind='full'; x=1}", "2")
    assert parse_axis('data.columns.positives="a;b";c').values == ('"a;b"', "c")
    assert parse_axis("a.b='x=1'").values == ("'x=1'",)
    assert parse_axis('a.b="x y";"xy"').values == ('"x y"', '"xy"')  # blanks within quotes tell values apart


@pytest.mark.parametrize("text", ["", "key", "key=", "=3", "key=1;;2", "key=1;", " =1"])
def test_what_is_no_axis_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write key=value;value"):
        parse_axis(text)


def test_a_value_comes_once() -> None:
    with pytest.raises(ConfigError, match=r"\[64,32\] comes twice"):
        parse_axis("model.layer_sizes=[64, 32];[64,32]")


def test_every_combination_the_last_axis_fastest() -> None:
    found = settings_of([Axis("a.x", ("1", "2")), Axis("b.y", ("p", "q"))])
    assert [setting.label for setting in found] == ["x=1, y=p", "x=1, y=q", "x=2, y=p", "x=2, y=q"]
    assert found[1].overrides == ("a.x=1", "b.y=q")
    assert [setting.label for setting in settings_of([])] == [""]


def test_labels_grow_until_they_tell_keys_apart() -> None:
    found = settings_of([Axis("query.layer_sizes", ("[8]",)), Axis("candidate.layer_sizes", ("[4]",))])
    assert found[0].label == "query.layer_sizes=[8], candidate.layer_sizes=[4]"
    with pytest.raises(ConfigError, match="seed: give each key once"):
        settings_of([Axis("seed", ("1",)), Axis("seed", ("2",))])


def test_folders_hold_what_file_systems_take() -> None:
    (setting,) = settings_of([Axis("query.features.0.name", ("a/b: ü [1]",))])
    assert setting.folder == "name=a-b-1"
