"""The reference of the command says what ``--help`` says."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from docs.command_reference import command_markdown, commands, on_page_markdown
from typer.testing import CliRunner

from twotower.cli.production import app


def help_of(*arguments: str) -> str:
    return CliRunner().invoke(app, [*arguments, "--help"], terminal_width=200).stdout


def test_every_command_of_the_help_is_there() -> None:
    listed = re.findall(r"^  (\w+)\s", help_of().split("Commands:")[1], re.MULTILINE)
    assert {"train", "evaluate", "recommend", "similar", "inspect", "doctor"} <= set(listed)
    assert re.findall(r"^## `twotower (\w+)`", command_markdown(), re.MULTILINE) == list(commands())
    assert sorted(commands()) == sorted(listed)


@pytest.mark.parametrize("name", list(commands()))
def test_every_option_of_the_help_is_there(name: str) -> None:
    section = command_markdown().split(f"## `twotower {name}`")[1].split("\n## ")[0]
    options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_of(name), re.MULTILINE)) - {"--help"}
    assert options
    heads = " ".join(re.findall(r"^`([^`]+)`\{", section, re.MULTILINE))
    assert options <= set(re.findall(r"--[\w-]+", heads))


def test_a_line_as_it_must_be() -> None:
    text = command_markdown()
    assert "twotower similar [OPTIONS] RUN" in text
    assert (
        '`-k, --k`{ #similar-k } <span class="key-type">int range</span> <span class="key-default">default: 10; x&gt;=1</span>'
        in (text.replace("integer range", "int range"))
    )
    assert "twotower report [OPTIONS] RUN...\n" in text
    assert "\n\n:   Override a key: training.epochs=10. Repeatable.\n\n" in text


def test_every_entry_has_a_meaning_and_an_anchor_of_its_own() -> None:
    text = command_markdown()
    assert not re.search(r"^:\s*$", text, re.MULTILINE)
    assert [anchor for anchor, count in Counter(re.findall(r"\{ #([\w-]+) \}", text)).items() if count > 1] == []


def test_names_of_several_forms_are_kept_together() -> None:
    text = command_markdown()
    assert "`--baselines / --no-baselines`{ #report-no-baselines }" in text
    assert '`RUN...`{ #report-run } <span class="key-type">path</span>' in text


def test_a_page_gets_the_reference_where_it_asks_for_it() -> None:
    assert on_page_markdown("a page") == "a page"
    assert on_page_markdown("<!-- command reference -->").startswith("## `twotower train`")
