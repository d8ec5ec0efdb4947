"""Which tables are updated by rows: what a recipe says, what stands against it, and the measured rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
import torch

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.runs import Recipe, load_tables
from twotower.runs.fit_model import UntrainedModel, build_model, fit_model
from twotower.runs.phase import fit_phase
from twotower.runs.table_updates import TouchedRows, decide_updates
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec

MakeRecipe = Callable[..., Recipe]

LARGE = 200_000


def features(**embedding: Any) -> dict[str, Any]:
    user = {"kind": "id", "column": "user", "hash_buckets": LARGE, "embedding": {"dim": 4, **embedding}}
    return {"query": {"features": [user]}}


@pytest.fixture
def built(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> Callable[..., UntrainedModel]:
    def build(**sections: Any) -> UntrainedModel:
        recipe = make_recipe(**sections)
        tables = load_tables(recipe, interactions=interactions)
        return build_model(recipe, fit_phase(recipe, tables, tables.split.train))

    return build


def told(untrained: UntrainedModel) -> dict[str, tuple[str, str]]:
    # what is told is what was built
    sparse = untrained.model.sparse_parameter_names()
    rows = {f"embeddings.table:{update.spec.name}" for update in untrained.updates if update.spec.update == "rows"}
    assert sparse == rows
    assert untrained.model.spec.tables == tuple(update.spec for update in untrained.updates)
    return {update.spec.name: (update.spec.update, update.why) for update in untrained.updates}


def test_large_tables_of_which_little_is_touched_are_updated_by_rows(built: Callable[..., UntrainedModel]) -> None:
    assert told(built(**features())) == {
        "query/user": ("rows", "at least 3 rows for each that a batch touches"),
        "candidate/item": ("dense", "less than 524,288 numbers"),
    }


@pytest.mark.parametrize("update", ["dense", "rows"])
def test_what_the_recipe_says_holds(update: str, built: Callable[..., UntrainedModel]) -> None:
    small = {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 4, "update": update}}]}
    found = told(built(**features(update=update), candidate=small))
    assert found == dict.fromkeys(("query/user", "candidate/item"), (update, "the recipe says so"))


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        ({"kind": "adamw"}, "AdamW moves every row at every step"),
        ({"kind": "adagrad", "weight_decay": 0.01}, "weight_decay is of every row"),
    ],
)
def test_the_rule_never_changes_what_is_learned(
    optimizer: dict[str, Any], why: str, built: Callable[..., UntrainedModel]
) -> None:
    assert told(built(**features(), training={"optimizer": optimizer}))["query/user"] == ("dense", why)


@pytest.mark.parametrize("kind", ["adagrad", "rowwise_adagrad"])
def test_the_weights_are_those_of_dense_updates(kind: str, make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    found = []
    for update in ("auto", "dense"):
        recipe = make_recipe(**features(update=update), training={"optimizer": {"kind": kind}, "early_stopping": None})
        tables = load_tables(recipe, interactions=interactions)
        untrained = build_model(recipe, fit_phase(recipe, tables, tables.split.train))
        found.append(fit_model(recipe, untrained, device=torch.device("cpu")).model)
    assert [model.spec.tables[0].update for model in found] == ["rows", "dense"]
    for (name, one), other in zip(found[0].named_parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def test_all_that_a_batch_looks_up_of_a_table_is_counted_once() -> None:
    users, items = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 5])
    histories, before = build_histories(users.numpy(), items.numpy(), None, num_users=2)
    examples = Examples(
        user_rows=users,
        item_rows=items,
        users={"user": torch.tensor([3, 4])},
        context={},
        histories=histories,
        before=before,
        seen_before=True,
        history_inputs=(HistoryInput("past", torch.arange(6)),),
    )
    shared = InputSpec(column="past", width=2, table="items", pooling="sum")
    spec = ModelSpec(
        tables=tuple(TableSpec(name=name, vocabulary_size=90, embedding_dim=2) for name in ("users", "items", "idle")),
        query=TowerSpec(inputs=(InputSpec(column="user", width=2, table="users"), shared), layer_sizes=(2,)),
        candidate=TowerSpec(inputs=(InputSpec(column="item", width=2, table="items"),)),
    )
    catalogue = {"item": torch.tensor([10, 11, 2, 13, 14, 1])}
    for candidates, expected in (("in_batch", {0, 1, 10, 11, 2}), ("catalogue", {0, 1, 10, 11, 2, 13, 14})):
        batches = Batches(examples, batch_size=4, catalogue_size=6, seed=0, candidates=candidates)  # type: ignore[arg-type]
        touched = TouchedRows(spec, batches, catalogue)
        assert [touched(name) for name in ("users", "items", "idle")] == [2, len(expected), 0]


def test_only_tables_that_the_rule_is_about_are_counted(make_recipe: MakeRecipe) -> None:
    def never(table: str) -> int:
        raise AssertionError(f"{table} was counted")

    inputs = (InputSpec(column="x", width=1),)
    table = TableSpec(name="small", vocabulary_size=9, embedding_dim=4)
    spec = ModelSpec(tables=(table,), query=TowerSpec(inputs=inputs), candidate=TowerSpec(inputs=inputs))
    assert [update.spec.update for update in decide_updates(make_recipe(), spec, {"small": "auto"}, never)] == ["dense"]
