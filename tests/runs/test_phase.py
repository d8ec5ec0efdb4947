from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.runs import Recipe
from twotower.runs.phase import bare_examples, fit_phase
from twotower.runs.tables import load_tables
from twotower.types import Ragged

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize("mode", ["before", "others"])
@pytest.mark.parametrize("split", [{"kind": "time", "test": 20, "validation": 10}, {"kind": "leave_last_out"}])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_the_history_of_a_judged_row_ends_before_it(
    mode: str, split: dict[str, Any], part: str, make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    history = {"kind": "history", "mode": mode, "embedding": {"dim": 4}}
    values = make_recipe(query={"features": [history]}).model_dump(mode="json") | {"split": split}
    recipe = Recipe.model_validate(values)
    tables = load_tables(recipe, interactions=interactions)
    phase = fit_phase(recipe, tables, tables.split.train)
    rows: np.ndarray = getattr(tables.split, part)
    column = phase.examples(rows, grow=phase.grows).queries(torch.arange(len(rows)), training=False)["history"]
    assert isinstance(column, Ragged)
    known = sorted(set(tables.interactions.frame["item"].to_numpy()[tables.split.train].tolist()))
    frame = tables.interactions.frame.sort("time")
    for query, row in enumerate(rows.tolist()):
        user, time = tables.interactions.frame.row(row, named=True)["user"], tables.interactions.frame["time"][row]
        past = frame.filter((pl.col("user") == user) & (pl.col("time") < time))["item"].to_list()
        expected = [known.index(item) + 1 for item in past if item in known]
        assert column.values[int(column.offsets[query]) : int(column.offsets[query + 1])].tolist() == expected


@pytest.mark.parametrize("kind", ["time", "random"])
def test_bare_examples_have_all_but_the_features(kind: str, make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(split={"kind": kind, "test": 20, "validation": 10})
    tables = load_tables(recipe, interactions=interactions)
    phase = fit_phase(recipe, tables, tables.split.train)
    rows = tables.split.validation
    whole, bare = phase.examples(rows, grow=phase.grows), bare_examples(recipe, tables, phase.item_rows, rows)
    assert bare.user_rows.equal(whole.user_rows)
    assert bare.item_rows.equal(whole.item_rows)
    assert bare.before.equal(whole.before)
    assert bare.histories.item_rows.equal(whole.histories.item_rows)
    every = torch.arange(len(rows))
    assert bare.seen(every).values.tolist() == whole.seen(every).values.tolist()
    assert (bare.users, bare.context) == ({}, {})
