"""What a recipe may say of propagation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twotower.errors import ConfigError
from twotower.runs import Recipe
from twotower.runs.propagation_config import PropagationConfig
from twotower.runs.recipe_values import recipe_values

MakeRecipe = Callable[..., Recipe]

USER = {"kind": "id", "column": "user", "embedding": {"dim": 4}}
ITEM = {"kind": "id", "column": "item", "embedding": {"dim": 4}}


def of(first: dict[str, Any], **embedding: Any) -> dict[str, Any]:
    return {**first, "embedding": {**first["embedding"], **embedding}}


def test_layers_are_averaged_unless_weights_are_given() -> None:
    assert PropagationConfig(layers=3).layer_weights == (0.25,) * 4
    assert PropagationConfig(layers=1, weights=(2.0, 0.0)).layer_weights == (2.0, 0.0)
    assert PropagationConfig().layers == 2


@pytest.mark.parametrize(
    ("propagation", "message"),
    [
        ({"layers": 2, "weights": [1.0, 1.0]}, "2 layers have 3 vectors, the one before the first among them; came 2 weights"),
        ({"layers": 1, "weights": [0.0, 1.0]}, "the first must be above 0: it is all that an unknown user or item has"),
        ({"layers": 1, "weights": [1.0, -1.0]}, "greater than or equal to 0"),
        ({"layers": 1, "weights": [1.0, float("nan")]}, "model.propagation.weights"),
        ({"layers": 1, "weights": [float("inf"), 1.0]}, "model.propagation.weights"),
        ({"layers": -1}, "greater than or equal to 0"),
        ({"layer": 2}, "did you mean 'layers'"),
    ],
)
def test_what_it_may_not_say(propagation: dict[str, Any], message: str, make_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(model={"propagation": propagation})


MEAN_OF_HISTORY = {"kind": "history", "embedding": {"dim": 4, "table": "items"}}


@pytest.mark.parametrize(
    ("query", "candidate", "message"),
    [
        ([MEAN_OF_HISTORY], [of(ITEM, table="items")], r"query.features needs one feature .*column = 'user' }, and candidate"),
        ([USER], [{"kind": "category", "column": "item", "embedding": {"dim": 4}}], "candidate.features one .*'item'"),
        ([USER, {**USER, "name": "again"}], [ITEM], "needs one feature"),
        ([{**USER, "column": "friend"}], [ITEM], "needs one feature"),
        ([of(USER, dim=8)], [ITEM], "their embedding.dim must be equal; came 8 of 'user', 4 of 'item'"),
        ([of(USER, table="ids")], [of(ITEM, table="ids")], "is between two tables; users and items share 'ids'"),
        (
            [of(USER, update="rows")],
            [ITEM],
            r"query.features.0.embedding.update = 'rows': .* every row a gradient; leave it out",
        ),
        ([USER], [of(ITEM, update="rows")], r"candidate.features.0.embedding.update = 'rows'"),
        (
            [USER, {**MEAN_OF_HISTORY, "embedding": {"dim": 4, "table": "items", "update": "rows"}}],
            [of(ITEM, table="items")],
            r"query.features.1.embedding.update = 'rows'",
        ),
    ],
)
def test_what_can_not_be_propagated(
    query: list[dict[str, Any]], candidate: list[dict[str, Any]], message: str, make_recipe: MakeRecipe
) -> None:
    towers = {"query": {"features": query}, "candidate": {"features": candidate}}
    if "share" not in message:  # which is wrong in any case, where vocabularies are compared
        make_recipe(**towers)
    with pytest.raises(ConfigError, match=message):
        make_recipe(**towers, model={"propagation": {"layers": 1}})


def test_all_faults_are_told_at_once(make_recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match=r"embedding.dim must be equal.*update = 'rows'"):
        make_recipe(query={"features": [of(USER, dim=8, update="rows")]}, model={"propagation": {}})


def test_a_recipe_without_it_reads_as_it_did(make_recipe: MakeRecipe) -> None:
    assert "propagation" not in make_recipe().model_dump(mode="json")["model"]
    given = make_recipe(model={"propagation": {"layers": 1, "weights": [1.0, 0.5]}})
    assert given.model_dump(mode="json")["model"]["propagation"] == {"layers": 1, "weights": [1.0, 0.5]}
    assert recipe_values(given)["model"]["propagation"] == {"layers": 1, "weights": [1.0, 0.5]}
    assert Recipe.model_validate(given.model_dump()) == given
    assert Recipe.model_validate(make_recipe().model_dump()) == make_recipe()
