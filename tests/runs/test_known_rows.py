"""Which rows another run has learned from, beside counting them one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from twotower.errors import DataError
from twotower.runs import Recipe
from twotower.runs.known_rows import KnownRows, known_rows
from twotower.runs.phase import fit_phase
from twotower.runs.tables import Tables, load_tables

MakeRecipe = Callable[..., Recipe]


def made(rows: int, seed: int, *, timed: bool = True, text: bool = False) -> pl.DataFrame:
    """A log in which many rows are equal, in user, item and often in time."""
    rng = np.random.default_rng(seed)
    users = [f"u{u}" for u in rng.integers(0, 5, rows)]
    items = rng.integers(0, 4, rows)
    frame = pl.DataFrame({"user": users, "item": [f"i{i}" for i in items] if text else items})
    return frame.with_columns(time=1_600_000_000 + rng.integers(0, 3, rows)) if timed else frame


def recipe_for(make_recipe: MakeRecipe, *, timed: bool) -> Recipe:
    columns = {"user": "user", "item": "item"} | ({"time": "time"} if timed else {"time": None, "order": "row"})
    return make_recipe(data={"columns": columns}, split={"test": 5, "validation": 5})


def keys_of(tables: Tables, *, timed: bool) -> list[tuple[object, ...]]:
    frame = tables.interactions.frame
    users = tables.users_of(np.arange(frame.height)).to_list()
    times = frame["time"].to_list() if timed else [0] * frame.height
    return list(zip(users, frame["item"].to_list(), times, strict=True))


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_rows_are_known_as_often_as_they_were_learned(make_recipe: MakeRecipe, seed: int, timed: bool) -> None:
    rng = np.random.default_rng(seed)
    recipe = recipe_for(make_recipe, timed=timed)
    before = made(60, seed, timed=timed)
    learned = np.sort(rng.permutation(60)[:40])
    old_tables = load_tables(recipe, interactions=before)
    phase = fit_phase(recipe, old_tables, learned)
    # another log: some of the same rows, others, in another order
    other = made(50, seed + 100, timed=timed).with_columns(pl.Series("item", rng.integers(0, 6, 50)))
    frame = pl.concat([before, other])[rng.permutation(110)]
    tables = load_tables(recipe, interactions=frame)
    found: KnownRows = known_rows(tables, old_tables.user_ids, phase.catalogue, phase.histories())
    assert found.timed is timed
    old = keys_of(old_tables, timed=timed)
    counts = Counter(old[row] for row in learned)
    keys = keys_of(tables, timed=timed)
    fit = np.sort(rng.permutation(110)[:70])
    rest = Counter(counts)
    expected = []
    for row in fit:
        expected.append(rest[keys[row]] > 0)
        rest[keys[row]] -= 1
    assert found.are_known(fit).tolist() == expected
    assert 0 < sum(expected) < len(fit)
    held = np.setdiff1d(np.arange(110), fit)
    fits, helds = Counter(keys[row] for row in fit), Counter(keys[row] for row in held)
    wanted = sum(min(helds[key], max(0, counts[key] - fits[key])) for key in helds)
    assert found.among(held, beside=fit) == wanted
    assert found.among(held, beside=np.arange(0)) >= wanted


def test_an_empty_history_knows_nothing(make_recipe: MakeRecipe) -> None:
    recipe = recipe_for(make_recipe, timed=True)
    frame = made(30, 1)
    tables = load_tables(recipe, interactions=frame)
    phase = fit_phase(recipe, tables, np.arange(10))
    histories = phase.histories()
    nothing = type(histories)(histories.offsets * 0, histories.item_rows[:0], histories.first[:0], histories.times[:0])  # type: ignore[index]
    found = known_rows(tables, tables.user_ids, phase.catalogue, nothing)
    assert not found.are_known(np.arange(30)).any()
    assert found.among(np.arange(30), beside=np.arange(0)) == 0


def test_ids_of_another_type_are_an_error(make_recipe: MakeRecipe) -> None:
    recipe = recipe_for(make_recipe, timed=True)
    old = load_tables(recipe, interactions=made(30, 1, text=True))
    phase = fit_phase(recipe, old, np.arange(30))
    tables = load_tables(recipe, interactions=made(30, 1))
    with pytest.raises(DataError, match="item"):
        known_rows(tables, old.user_ids, phase.catalogue, phase.histories())
