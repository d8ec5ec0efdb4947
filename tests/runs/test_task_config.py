"""What a recipe may ask for beside retrieval, and what it hears where it may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twotower.errors import ConfigError
from twotower.runs import Recipe, parse_recipe

MakeRecipe = Callable[..., Recipe]
TASK = {"name": "stars", "column": "rating"}


def test_a_recipe_has_no_tasks_of_itself(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    assert (recipe.tasks, recipe.loss.weight) == ((), 1.0)


def test_a_recipe_with_tasks_survives_json(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(
        tasks=[{**TASK, "kind": "ordinal", "weight": 0.3, "inputs": ["product"], "layer_sizes": [], "edges": [2, 4]}]
    )
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"tasks": [{"name": "stars"}]}, r"tasks\.0\.column: is required"),
        ({"tasks": [{**TASK, "kind": "ordinary"}]}, r"tasks\.0\.kind: input should be 'regression' or 'ordinal'"),
        ({"tasks": [{**TASK, "weight": 0}]}, r"tasks\.0\.weight: input should be greater than 0"),
        ({"tasks": [{**TASK, "inputs": ["query", "query"]}]}, r"tasks\.0\.inputs: each may be named once"),
        ({"tasks": [{**TASK, "inputs": []}]}, r"tasks\.0\.inputs: "),
        ({"tasks": [{**TASK, "layer_sizes": [0]}]}, r"tasks\.0\.layer_sizes\.0: "),
        ({"tasks": [{**TASK, "edges": [1, 2]}]}, r"tasks\.0: edges make levels, and kind = 'regression' learns numbers"),
        ({"tasks": [{**TASK, "kind": "ordinal", "edges": [2, 1]}]}, r"tasks\.0\.edges: must ascend, each once"),
        ({"tasks": [{**TASK, "kind": "ordinal", "edges": [1, 1]}]}, r"tasks\.0\.edges: must ascend, each once"),
        ({"tasks": [{**TASK, "kind": "ordinal", "edges": []}]}, r"tasks\.0\.edges: must have at least 1 entries"),
        ({"tasks": [{**TASK, "kind": "ordinal", "edges": list(range(100))}]}, r"tasks\.0\.edges: .*at most 99"),
        ({"tasks": [{**TASK, "name": "the stars"}]}, r"tasks\.0\.name: "),
        ({"tasks": [{**TASK, "name": "retrieval"}]}, r"tasks\.0\.name: 'retrieval' is the task that every recipe has"),
        ({"tasks": [TASK, {**TASK, "kind": "ordinal"}]}, "every task needs a name of its own; 'stars' came twice"),
        ({"tasks": [{**TASK, "column": "item"}]}, r"tasks\.0\.column: 'item' is no outcome but the item"),
        ({"tasks": [{**TASK, "column": "time"}]}, r"tasks\.0\.column: 'time' is no outcome but the time"),
        ({"loss": {"weight": 0}}, r"loss\.weight = 0 leaves nothing to learn"),
        ({"loss": {"weight": -1}}, r"loss\.weight: "),
        (
            {"tasks": [TASK], "loss": {"weight": 0}},
            r"'recall@5' says nothing where retrieval is not learned .* stars rmse, stars mae",
        ),
        (
            {"training": {"early_stopping": {"metric": "stars rmse"}}},
            r"validation gives recall@1, recall@5, ndcg@10, mrr, .* but no 'stars rmse'",
        ),
        (
            {"tasks": [TASK], "training": {"early_stopping": {"metric": "rating rmse"}}},
            r"\(seen items left out\), stars rmse, stars mae, but no 'rating rmse'",
        ),
    ],
)
def test_faults_are_named(make_recipe: MakeRecipe, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(**sections)


def test_the_outcome_of_a_task_is_no_input_of_the_query(make_recipe: MakeRecipe) -> None:
    features = [{"kind": "id", "column": "user"}, {"kind": "number", "column": "rating"}]
    make_recipe(query={"features": features})
    with pytest.raises(
        ConfigError, match=r"query\.features\.1: column 'rating' is an outcome of its own row \(tasks\.0\.column\)"
    ):
        make_recipe(query={"features": features}, tasks=[TASK])


def test_figures_of_a_task_may_be_watched(make_recipe: MakeRecipe) -> None:
    for metric in ("stars rmse", "stars mae", "recall@5"):
        make_recipe(tasks=[TASK], training={"early_stopping": {"metric": metric}})
    make_recipe(tasks=[TASK], loss={"weight": 0}, training={"early_stopping": {"metric": "stars mae"}})
    make_recipe(tasks=[TASK], loss={"weight": 0}, training={"early_stopping": False})
