"""What the pages quote holds: Python runs, recipes parse, commands and targets exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from docs.command_reference import commands

from twotower.runs import parse_recipe

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "pycon", "toml", "console", "text"}


def fences(*languages: str) -> list[Any]:
    """Every fenced block of the languages, as a parameter that is named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[1] in languages:
                line = text[: match.start()].count("\n") + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_its_language(page: Path) -> None:
    text = page.read_text()
    named = {match[1] for match in FENCE.finditer(text)}
    if page.name in ("architecture.md", "README.md"):
        named.discard("")  # drawings and listings
    assert named <= LANGUAGES


@pytest.mark.parametrize("code", fences("python", "pycon"))
def test_python_is_a_doctest_that_ends_before_the_fence(code: str) -> None:
    assert code.startswith(">>> "), "what is not a doctest is not run"
    assert code.endswith("\n\n"), "without an empty line, doctest takes the fence for output"


def merged(base: dict[str, Any], fragment: dict[str, Any]) -> dict[str, Any]:
    """The base with the keys of the fragment in place of its own, tables key by key (a table of another kind as a whole)."""
    result = deepcopy(base)
    for key, value in fragment.items():
        old = result.get(key)
        same_kind = isinstance(value, dict) and isinstance(old, dict) and value.get("kind") == old.get("kind")
        result[key] = merged(old, value) if same_kind and old is not None else value
    return result


BASE = {
    "name": "base",
    "data": {"columns": {"user": "user_id", "item": "item_id", "time": "at"}},
    "query": {"features": [{"kind": "history"}]},
    "candidate": {"features": [{"kind": "id", "column": "item_id"}]},
}


@pytest.mark.parametrize("text", fences("toml"))
def test_a_recipe_parses_and_a_part_of_one_fits_into_one(text: str) -> None:
    written = tomllib.loads(text)
    assert written
    parse_recipe(written if "name" in written else merged(BASE, written))


def test_a_part_with_an_unknown_key_would_be_found() -> None:
    with pytest.raises(Exception, match="tempreture"):
        parse_recipe(merged(BASE, tomllib.loads("[loss]\ntempreture = 1.0\n")))


def parse(line: str) -> None:
    """Parse a command line as ``twotower`` does, without running it."""
    _, name, *arguments = shlex.split(line, comments=True)
    assert name in commands(), f"twotower has no command {name!r}"
    commands()[name].make_context(f"twotower {name}", arguments)


@pytest.mark.parametrize("text", fences("console"))
def test_every_command_line_is_one_that_the_command_takes(text: str) -> None:
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")] or text.splitlines()
    assert lines
    for line in lines:
        if line.startswith("make "):
            target = line.split()[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make has no target {target!r}"
        else:
            assert line.startswith("twotower "), f"{line!r}: a program that is not ours"
            parse(line)


def spans() -> list[Any]:
    found = []
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            found += [pytest.param(span, id=f"{page.name}:{number}") for span in re.findall(r"`(twotower [^`]+)`", line)]
    return found


@pytest.mark.parametrize("span", spans())
def test_a_command_in_a_sentence_exists(span: str) -> None:
    if "[" in span or len(span.split()) == 2:  # a form with optional parts, or the command's name alone
        assert span.split()[1] in commands()
    else:
        parse(span)


@pytest.mark.parametrize("line", ["twotower trian recipe.toml", "twotower train recipe.toml --epoch 3", "twotower recommend"])
def test_a_wrong_command_line_would_be_found(line: str) -> None:
    with pytest.raises(BaseException, match=r"trian|--epoch|run"):
        parse(line)
