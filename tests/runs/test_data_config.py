"""The data section: what excludes what, and which columns a recipe reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twotower.errors import ConfigError
from twotower.runs import Recipe

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"items": {"path": "items.csv"}, "catalogue": {}}, "from items or from the interactions"),
        ({"dataset": "movielens-100k", "catalogue": {}}, "the items of dataset 'movielens-100k' or from the interactions"),
        ({"catalogue": {"columns": ["genre", "genre"]}}, "every column once; came twice: genre"),
        ({"catalogue": {"columns": ["item"]}}, "'item' is the item"),
        ({"catalogue": {"columns": ["user"]}}, "'user' is the user"),
        ({"sample": {"fraction": 0.0}}, "greater than 0"),
        ({"sample": {"fraction": 1.5}}, "less than or equal to 1"),
        ({"cache": "sometimes"}, "'auto', 'always' or 'never'"),
    ],
)
def test_what_does_not_fit_together(make_recipe: MakeRecipe, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(data=data)


def test_the_items_columns_are_no_input_of_the_query(make_recipe: MakeRecipe) -> None:
    features = {"features": [{"kind": "id", "column": "user"}, {"kind": "category", "column": "genre"}]}
    make_recipe(query=features)
    with pytest.raises(ConfigError, match=r"query.features.1: column 'genre' belongs to the item .* leave it out"):
        make_recipe(query=features, data={"catalogue": {"columns": ["genre"]}})


def test_the_columns_that_a_recipe_reads(make_recipe: MakeRecipe) -> None:
    assert make_recipe().columns_read() == ("user", "item", "time")
    recipe = make_recipe(
        data={
            "columns": {"weight": "seconds", "positives": "rating >= 4"},
            "catalogue": {"columns": ["genre"]},
        },
        query={
            "features": [
                {"kind": "id", "column": "user"},
                {"kind": "category", "column": "country"},
                {"kind": "geo", "longitude": "lon", "latitude": "lat", "name": "place"},
                {"kind": "history"},
            ]
        },
        candidate={"features": [{"kind": "id", "column": "item"}, {"kind": "category", "column": "genre"}]},
        baselines={"segments": [["country", "language"]]},
        tasks=[{"name": "liked", "column": "rating"}],
    )
    assert recipe.columns_read() == (
        *("user", "item", "time", "seconds", "rating"),
        *("country", "lon", "lat", "genre", "language"),
    )
    given = make_recipe(split={"kind": "given", "column": "part", "test": "test", "validation": "validation"})
    assert given.columns_read()[-1] == "part"


def test_an_outcome_of_the_row_is_no_attribute_of_the_item(make_recipe: MakeRecipe) -> None:
    columns = {"user": "user", "item": "item", "time": "time", "positives": "rating >= 4"}
    with pytest.raises(
        ConfigError, match=r"'rating' is an outcome of its own row \(data\.columns\.positives\) and no attribute"
    ):
        make_recipe(data={"columns": columns, "catalogue": {"columns": ["rating"], "items": "all"}})
