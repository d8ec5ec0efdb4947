"""A catalogue from one wide table, against loops in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.data import Interactions, Schema
from twotower.errors import DataError
from twotower.runs.catalogue import catalogue_from_rows, count_conflicts
from twotower.runs.data_config import CatalogueConfig


def log(rows: int = 200, *, ordered: bool = True) -> pl.DataFrame:
    """Items of which i9 comes in late rows only; attributes that differ between rows and are often missing."""
    rng = np.random.default_rng(1)
    items = rng.integers(0, 9, rows)
    items[rows - 20 :: 7] = 9
    frame = pl.DataFrame(
        {
            "user": [f"u{n}" for n in rng.integers(0, 20, rows)],
            "item": [f"i{n}" for n in items],
            "time": np.arange(rows),
            "country": [None if n == 0 else ["BR", "PT", "US"][n % 3] for n in rng.integers(0, 6, rows)],
            "age": [None if n < 20 else float(n) for n in rng.integers(10, 30, rows)],
            "never": pl.Series([None] * rows, dtype=pl.String),
            "same": [f"of i{n}" for n in items],
        }
    )
    return frame if ordered else frame[rng.permutation(rows)]


def interactions(frame: pl.DataFrame, **schema: Any) -> Interactions:
    return Interactions.from_table(frame, Schema(user="user", item="item", time="time", **schema))


def expected(frame: pl.DataFrame, column: str, fit: set[int], *, take: str, every: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows = frame.with_row_index("row").sort("time", maintain_order=True).to_dicts()
    for item in sorted({row["item"] for row in rows}):
        mine = [row for row in rows if row["item"] == item]
        known = [row[column] for row in mine if row["row"] in fit]
        values = [value for value in known if value is not None]
        if known and take == "latest":
            found[item] = values[-1] if values else None
        elif known:
            often = max((values.count(value) for value in values), default=0)
            found[item] = next((value for value in reversed(values) if values.count(value) == often), None)
        elif every:
            found[item] = mine[0][column]
    return found


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("items", ["train", "all"])
@pytest.mark.parametrize("take", ["latest", "most_frequent"])
def test_one_row_per_item(take: Any, items: Any, coded: bool, ordered: bool) -> None:
    frame = log(ordered=ordered)
    fit_rows = np.flatnonzero(frame["time"].to_numpy() < 170)
    config = CatalogueConfig(columns=("country", "age", "never", "same"), take=take, items=items)
    table = frame
    if coded:
        kinds = {"user": None, "item": None, "country": ["US", "PT", "BR"], "never": []}
        table = frame.with_columns(
            pl.col(name).cast(pl.Enum(sorted(frame[name].unique()) if values is None else values))
            for name, values in kinds.items()
        )
    catalogue = catalogue_from_rows(interactions(table), config, fit_rows)
    assert len(catalogue) == (10 if items == "all" else 9)
    assert catalogue.frame["country"].dtype == pl.String
    for column in config.columns:
        found = dict(zip(catalogue.ids.to_list(), catalogue.frame[column].to_list(), strict=True))
        assert found == expected(frame, column, set(fit_rows.tolist()), take=take, every=items == "all"), column


def test_what_comes_later_is_not_known() -> None:
    frame = log()
    early, config = np.arange(50), CatalogueConfig(columns=("country",))
    later = frame.with_columns(pl.when(pl.col("time") < 50).then("country").otherwise(pl.lit("XX")).alias("country"))
    assert catalogue_from_rows(interactions(frame), config, early).frame.equals(
        catalogue_from_rows(interactions(later), config, early).frame
    )


def test_not_a_number_is_no_value() -> None:
    frame = pl.DataFrame({"user": ["a"] * 3, "item": ["x"] * 3, "time": [1, 2, 3], "age": [20.0, 30.0, float("nan")]})
    for take in ("latest", "most_frequent"):
        config = CatalogueConfig(columns=("age",), take=take)
        assert catalogue_from_rows(interactions(frame), config, np.arange(3)).frame["age"].to_list() == [30.0]


def test_conflicts_are_counted_by_column() -> None:
    frame = log()
    config = CatalogueConfig(columns=("country", "age", "never", "same"))
    counted = {
        name: sum(
            frame.filter(pl.col("item") == item)[name].drop_nulls().n_unique() > 1 for item in frame["item"].unique().to_list()
        )
        for name in config.columns
    }
    assert count_conflicts(interactions(frame), config) == counted
    assert counted["country"] > 0 == counted["same"] == counted["never"]
    kinds: dict[str, Any] = {"item": pl.Enum([f"i{n}" for n in range(10)]), "country": pl.Categorical}
    coded = frame.with_columns(pl.col(name).cast(dtype) for name, dtype in kinds.items())
    assert count_conflicts(interactions(coded), config) == counted


def test_lists_are_values_like_others() -> None:
    tags = [["a", "b"], ["a", "b"], ["a"], None, None, ["c"], ["c"], ["d"]]
    frame = pl.DataFrame({"user": list("stuvwxyz"), "item": list("aabbccdd"), "time": range(8), "tags": tags})
    for take in ("latest", "most_frequent"):
        config = CatalogueConfig(columns=("tags",), take=take)
        assert count_conflicts(interactions(frame), config) == {"tags": 1}
        found = catalogue_from_rows(interactions(frame), config, np.arange(8)).frame
        assert found["tags"].to_list() == [["a", "b"], ["a"], ["c"], ["d"]]


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"no column 'contry' \(declared as catalogue column contry\); did you mean 'country'"):
        count_conflicts(interactions(log()), CatalogueConfig(columns=("contry",)))


def test_without_columns_it_is_the_ids_of_the_fit_rows() -> None:
    catalogue = catalogue_from_rows(interactions(log()), CatalogueConfig(), np.arange(3))
    assert catalogue.frame.equals(log()["item"][:3].unique().sort().to_frame())
