"""Segments of the users and of the interactions, against values in plain Python; what can't be one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch

from twotower.errors import ConfigError
from twotower.runs import Recipe, Tables, fit_baselines, load_tables
from twotower.runs.phase import fit_phase
from twotower.runs.segments import default_segments, read_segments, require_segments

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def people(users: pl.DataFrame) -> pl.DataFrame:
    return users.with_columns(
        pl.Series("town", ["x", "y", None, "x", "y", "x", "z", "x", "y", "x"]),
        pl.Series("tags", [["a"]] * 10),
        pl.Series("note", ["n"] * 10),
    )


@pytest.fixture
def rows(interactions: pl.DataFrame) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return interactions.with_columns(
        pl.Series("device", [("phone", "tv", None)[place] for place in rng.integers(0, 3, 100)]), pl.Series("note", ["m"] * 100)
    )


def tables_of(make_recipe: MakeRecipe, rows: pl.DataFrame, people: pl.DataFrame | None, **more: object) -> Tables:
    return load_tables(make_recipe(**more), interactions=rows, users=people)


def values(tables: Tables, people: pl.DataFrame, columns: tuple[str, ...]) -> list[tuple[object, ...] | None]:
    """The values of every row, None where one is missing."""
    known = {row["user"]: row for row in people.iter_rows(named=True)}
    found = []
    for row in tables.interactions.frame.iter_rows(named=True):
        person = known.get(row["user"], {})
        mine = tuple(row[name] if name in row else person.get(name) for name in columns)
        found.append(None if None in mine else mine)
    return found


@pytest.mark.parametrize("columns", [("town",), ("device",), ("town", "age"), ("device", "town"), ("user",)])
def test_equal_values_have_one_number(
    make_recipe: MakeRecipe, rows: pl.DataFrame, people: pl.DataFrame, columns: tuple[str, ...]
) -> None:
    tables = tables_of(make_recipe, rows, people)
    found = read_segments(tables, columns)
    wanted = values(tables, people, columns)
    pairs = set(zip(found.codes.tolist(), wanted, strict=True))
    assert len({code for code, _ in pairs}) == len({value for _, value in pairs}) == len(pairs)
    assert [code == -1 for code in found.codes] == [value is None for value in wanted]
    assert found.codes.max() < found.count


def test_nan_is_a_missing_value(make_recipe: MakeRecipe, rows: pl.DataFrame) -> None:
    tables = tables_of(make_recipe, rows.with_columns(pl.Series("heat", [1.0, float("nan")] * 50)), None)
    codes = read_segments(tables, ("heat",)).codes
    assert set(codes[::2]) == {0}
    assert set(codes[1::2]) == {-1}


def test_segments_of_examples(make_recipe: MakeRecipe, rows: pl.DataFrame, people: pl.DataFrame) -> None:
    recipe = make_recipe()
    tables = tables_of(make_recipe, rows, people)
    phase = fit_phase(recipe, tables, tables.split.train)
    parts = (tables.split.validation, tables.split.test)
    by_device, by_town = read_segments(tables, ("device",)), read_segments(tables, ("town",))
    for part in parts:
        examples = phase.examples(part, grow=True)
        for segments in (by_device, by_town):
            assert segments.of(examples, parts, phase.item_rows).tolist() == segments.codes[part].tolist()
    some = phase.examples(tables.split.test[3:7], grow=True)
    assert by_town.of(some, (), phase.item_rows).tolist() == by_town.codes[tables.split.test[3:7]].tolist()
    with pytest.raises(ValueError, match="segments of device are known for the rows of a whole part; came 4 others"):
        by_device.of(some, parts, phase.item_rows)


def test_the_segment_of_the_moment_is_read_in_judging(make_recipe: MakeRecipe, rows: pl.DataFrame) -> None:
    """Items of the phone and of the television: only the device of the row itself tells which."""
    rows = rows.with_columns(pl.Series("device", ["tv" if item < 4 else "phone" for item in rows["item"]]))
    recipe = make_recipe(baselines={"segments": [["device"]], "segment_popularity": {"strength": [1.0]}})
    tables = load_tables(recipe, interactions=rows)
    make = fit_baselines(recipe, tables, ["segment_popularity"])["segment_popularity"].scorer
    assert make is not None
    phase = fit_phase(recipe, tables, tables.split.train)
    test = tables.split.test
    ((_, scores_BN),) = make(phase.examples(test, grow=True)).tiles(torch.arange(len(test)), 100)
    best = [int(phase.catalogue.ids[int(row)]) for row in scores_BN.argmax(1)]
    assert [item < 4 for item in best] == [item < 4 for item in tables.interactions.item_ids.to_numpy()[test]]


def test_by_default_the_categories_of_the_query_else_the_texts_of_the_users(
    make_recipe: MakeRecipe, rows: pl.DataFrame, people: pl.DataFrame
) -> None:
    features = [
        {"kind": "category", "column": "device"},
        {"kind": "category", "column": "town"},
        {"kind": "category", "column": "user", "name": "kind", "separator": ":", "part": 0},
        {"kind": "number", "column": "age"},
    ]
    with_categories = make_recipe(query={"features": features})
    assert default_segments(with_categories, tables_of(make_recipe, rows, people)) == (("device",), ("town",))
    assert default_segments(make_recipe(), tables_of(make_recipe, rows, people)) == (("town",), ("note",))
    assert default_segments(make_recipe(), tables_of(make_recipe, rows, None)) == ()


def test_columns_that_can_not_be_segments(make_recipe: MakeRecipe, rows: pl.DataFrame, people: pl.DataFrame) -> None:
    outcomes = {"data": {"columns": {"weight": "weight", "positives": "rating >= 2"}}}
    recipe = make_recipe(**outcomes)
    tables = tables_of(make_recipe, rows, people, **outcomes)
    require_segments(recipe, tables, [("town", "device"), ("user",)])
    for column, said in (
        ("item", "is the item to be found"),
        ("weight", r"is an outcome of its own row \(data.columns.weight\)"),
        ("rating", r"is an outcome of its own row \(data.columns.positives\)"),
        ("twon", "no such column among the users or in the interactions; did you mean 'town'"),
        ("note", "is ambiguous"),
        ("tags", r"must have one value a row; came List\(String\)"),
    ):
        with pytest.raises(ConfigError, match=f"segment column '{column}'.*{said}"):
            require_segments(recipe, tables, [("town", column)])
    with pytest.raises(ConfigError, match="2 faults"):
        require_segments(recipe, tables, [("item",), ("tags",), ("item", "town")])
    owned = make_recipe(data={"catalogue": {"columns": ["device"]}})
    with pytest.raises(ConfigError, match=r"segment column 'device' belongs to the item \(data\.catalogue\.columns\)"):
        require_segments(owned, tables, [("town", "device")])
    rated = make_recipe(tasks=[{"name": "stars", "column": "rating"}])
    with pytest.raises(ConfigError, match=r"outcome of its own row \(tasks\.0\.column\)"):
        require_segments(rated, tables, [("rating",)])


def test_more_combinations_than_numbers_of_63_bits(make_recipe: MakeRecipe, rows: pl.DataFrame) -> None:
    rng = np.random.default_rng(2)
    wide = pl.Enum([str(n) for n in range(65_536)])
    names = [f"wide{n}" for n in range(5)]  # 65,536 ** 4 is 2 ** 64
    chosen = [pl.Series(name, [wide.categories[int(n)] for n in rng.choice([7, 65_535], 100)], dtype=wide) for name in names]
    frame = rows.with_columns(chosen)
    found = read_segments(tables_of(make_recipe, frame, None), tuple(names))
    values = frame.select(names).rows()
    groups = {
        codes: {value for value, code in zip(values, found.codes.tolist(), strict=True) if code == codes}
        for codes in set(found.codes.tolist())
    }
    assert all(len(group) == 1 for group in groups.values())
    assert len(groups) == len(set(values)) == found.count
