"""Which feature a column gets: each of them can be fitted on what it was suggested for."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from twotower.config import parse_config
from twotower.preprocessing import FeatureConfig
from twotower.runs.column_features import feature_of, part_of, side_features
from twotower.runs.column_suggestions import column_suggestions
from twotower.runs.feature_entry import EmbeddingConfig
from twotower.runs.table_facts import ColumnFacts, TableFacts, table_facts

ROWS = 2_000
RNG = np.random.default_rng(4)
MANY = [f"n{value}" for value in range(1_500)] + ["n0"] * 500
GENRES = ["|".join(["Action", "Drama", "War"][: 1 + row % 3]) for row in range(ROWS // 2)] + ["War|Drama", "Action|War"] * (
    ROWS // 4
)
TITLES = [f"The {row} nights of {row % 700}" for row in range(ROWS)]


def with_gap(values: Any) -> pl.Series:
    return pl.Series([None, *list(values)[1:]])


def column(values: Any, name: str = "x") -> ColumnFacts:
    return table_facts(pl.DataFrame({name: values})).columns[0]


@pytest.mark.parametrize(
    ("name", "values", "kind", "keys"),
    [
        ("x", RNG.normal(size=ROWS), "number", {}),
        ("x", RNG.lognormal(sigma=3, size=ROWS), "number", {"transform": "log1p"}),
        ("x", with_gap(RNG.normal(size=ROWS)), "number", {"missing": "own"}),
        ("x", np.arange(ROWS), "number", {}),
        ("x", np.arange(ROWS) % 12, "category", {}),
        ("x", np.arange(ROWS) % 13, "number", {}),
        ("x", with_gap(np.arange(ROWS) % 3), "category", {"missing": "own_row"}),
        ("x", np.arange(ROWS) % 2 == 0, "category", {}),
        ("x", [f"c{row % 9}" for row in range(ROWS)], "category", {}),
        ("x", with_gap([f"c{row % 9}" for row in range(ROWS)]), "category", {"missing": "own_row"}),
        ("x", [f"c{row % 1000}" for row in range(ROWS)], "category", {}),
        ("x", MANY, "id", {"min_count": 2}),
        ("x", GENRES, "multi_category", {"separator": "|"}),
        ("x", [genres.split("|") for genres in GENRES], "multi_category", {}),
        ("x", TITLES, "text", {"min_count": 2}),
        ("user_age", RNG.integers(18, 31, size=ROWS), "buckets", {"edges": [21, 25, 30]}),
        ("age", with_gap(RNG.integers(40, 99, size=ROWS)), "buckets", {"edges": [45, 50, 60], "missing": "own_row"}),
        ("age", RNG.integers(0, 99, size=ROWS), "buckets", {"edges": [18, 21, 25, 30, 35, 40, 45, 50, 60]}),
        ("age", RNG.integers(1950, 2020, size=ROWS), "buckets", {"num_edges": 10, "spacing": "quantile"}),
        ("age", np.full(ROWS, 70) + np.arange(ROWS) % 5, "buckets", {"num_edges": 10, "spacing": "quantile"}),
    ],
)  # fmt: skip
def test_one_column(name: str, values: Any, kind: str, keys: dict[str, object]) -> None:
    found = feature_of(column(values, name), ROWS)
    assert found is not None
    assert (found.kind, found.columns, dict(found.keys)) == (kind, (name,), {"column": name, **keys})
    config: Any = TypeAdapter(FeatureConfig).validate_python({"kind": found.kind, **found.keys})
    series = pl.Series(name, values)
    encoded = config.fit(series).encode(series)  # as it stands, gaps and all
    assert encoded
    parse_config(EmbeddingConfig, dict(found.embedding))


def test_large_tables_ask_for_frequent_values() -> None:
    texts = column([f"c{row % 9}" for row in range(ROWS)])
    assert [feature_of(texts, rows).keys.get("min_count") for rows in (99_999, 100_000)] == [None, 5]  # type: ignore[union-attr]
    assert [feature_of(column(MANY), rows).keys["min_count"] for rows in (99_999, 100_000)] == [2, 5]  # type: ignore[union-attr]


def test_times_and_vectors_have_none() -> None:
    assert feature_of(column(pl.Series([1, 2]).cast(pl.Datetime("us"))), 2) is None
    assert feature_of(column([[0.5], [1.5]]), 2) is None


def test_parts_of_ids() -> None:
    ids = [f"{('pof', 'skout')[row % 2]}/{row}" for row in range(ROWS)]
    found = part_of(column(ids, "viewer"))
    assert found is not None
    assert (found.kind, dict(found.keys)) == (
        "category",
        {"column": "viewer", "name": "viewer_part", "separator": "/", "part": 0, "missing": "own_row"},
    )
    assert part_of(column(MANY)) is None


def test_places() -> None:
    frame = pl.DataFrame(
        {
            "viewer_longitude": [10.5, -20.0, None],
            "viewer_latitude": [50.0, 60.0, None],
            "lat": [91.0, 0.0, 1.0],
            "lng": [0.0, 1.0, 2.0],
            "b_lon": [0.5, 1.0, 2.0],
            "longitude_text": ["a", "b", "c"],
        }
    )
    facts = table_facts(frame)
    found = side_features(facts.columns, 3)
    assert [(entry.kind, entry.columns) for entry in found] == [
        ("geo", ("viewer_longitude", "viewer_latitude")),
        ("geo", ("lng", "lat")),
        ("number", ("b_lon",)),
        ("category", ("longitude_text",)),
    ]
    assert dict(found[0].keys) == {"name": "viewer_place", "longitude": "viewer_longitude", "latitude": "viewer_latitude"}
    assert dict(found[1].keys) == {"name": "place", "longitude": "lng", "latitude": "lat", "out_of_range": "missing"}


def test_suggestions_name_every_column() -> None:
    facts: TableFacts = table_facts(pl.DataFrame({"x": [1.5, 2.5], "at": pl.Series([1, 2]).cast(pl.Datetime("us"))}))
    assert column_suggestions(facts, None) == {"x": ("number", "numbers"), "at": ("", "")}
