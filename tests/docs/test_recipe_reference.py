"""The reference of recipes: every key is there and says what it means, as pydantic's own schema tells us which there are."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal

import pytest
from docs.recipe_reference import attributes, on_page_markdown, recipe_markdown, sections, type_words
from pydantic import BaseModel, Field

from twotower.runs import Recipe


def models_and_keys() -> list[tuple[str, str]]:
    """Every config that a recipe can hold, with its keys, from the JSON schema."""
    schema = Recipe.model_json_schema()
    models: dict[str, Any] = {**schema["$defs"], "Recipe": schema}
    return [(name, key) for name, model in models.items() for key in model.get("properties", {})]


def test_there_is_something_to_look_at() -> None:
    assert len(models_and_keys()) > 100


@pytest.mark.parametrize(("model", "key"), models_and_keys())
def test_every_key_of_every_config_is_there_and_says_what_it_means(model: str, key: str) -> None:
    found = [section for section in sections() if section.model.__name__ == model]
    if not found:  # a table of one key is told in the line of the key that holds it
        assert f"{{ {key} = … }}" in recipe_markdown()
        return
    (section,) = found
    if key == "kind" and section.kind is not None:
        assert f'### `kind = "{section.kind}"`' in recipe_markdown()
        return
    if (model, key) == ("FeatureEntry", "feature"):  # its keys stand beside `embedding`
        return
    (entry,) = [entry for entry in section.keys if entry.name == key]
    assert len(entry.meaning) > 5, f"{model}.{key}: the docstring has no attribute of that name"
    assert entry.type_words
    assert entry.default


def test_every_section_says_what_it_is() -> None:
    assert [section.model.__name__ for section in sections() if not section.intro] == []


def test_every_anchor_is_there_once_and_every_link_leads_to_one() -> None:
    text = recipe_markdown()
    anchors = Counter(re.findall(r"\{ #([\w-]+) \}", text))
    assert [anchor for anchor, count in anchors.items() if count > 1] == []
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= set(anchors)
    assert {"query-features-history", "training-optimizer", "split-time-test", "loss-temperature"} <= set(anchors)


@pytest.mark.parametrize(
    "line",
    [
        '`epochs`{ #training-epochs } <span class="key-type">integer, at least 1</span> '
        '<span class="key-default">default `20`</span>',
        '`temperature`{ #loss-temperature } <span class="key-type">number, more than 0</span> '
        '<span class="key-default">default `1.0`</span>',
        '`user`{ #data-columns-user } <span class="key-type">text, not empty</span> <span class="key-default">required</span>',
        '`max_length`{ #query-features-history-max_length } <span class="key-type">integer, at least 1</span> '
        '<span class="key-default">not set</span>',
        "## `[data.interactions]`, `[data.items]`, `[data.users]` { #data-interactions }",
        "## `[[query.features]]`, `[[candidate.features]]` { #query-features }",
        "[`users`](#data-interactions)",
        "[`features`](#query-features)",
    ],
)
def test_a_line_as_it_must_be(line: str) -> None:
    assert line in recipe_markdown()


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "`true` or `false`"),
        (int | None, "integer"),
        (int | str, "integer or text"),
        (Literal["a", 1], '`"a"` or `1`'),
        (tuple[str, ...], "list of text"),
        (tuple[float, float], "list of 2 times number"),
        (dict[str, Literal["x", "y"]], 'table of `"x"` or `"y"`'),
        (Annotated[int, Field(ge=1, lt=1_000_000)], "integer, at least 1, less than 1,000,000"),
        (Annotated[float, Field(gt=0, le=1)], "number, more than 0, at most 1"),
        (Annotated[str, Field(min_length=1, max_length=1)], "text, of length 1"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    assert type_words(annotation) == words


class Parent(BaseModel):
    """A parent.

    Attributes:
        old: Of the parent,
            on two lines.
        both: Of the parent.
    """

    old: int
    both: int


class Child(Parent):
    """A child.

    Attributes:
        both: Of the child.
        new: Its own: with a colon.

    Example:
        new: not an attribute
    """

    new: int


def test_attributes_are_read_from_docstrings_and_inherited() -> None:
    assert attributes(Child) == {
        "old": "Of the parent, on two lines.",
        "both": "Of the child.",
        "new": "Its own: with a colon.",
    }


def test_a_page_gets_the_reference_where_it_asks_for_it() -> None:
    assert on_page_markdown("a page") == "a page"
    assert on_page_markdown("above\n<!-- recipe reference -->\nbelow").startswith("above\n## The recipe itself")
