"""What is seen of a column, in every type that tables come in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.runs.table_facts import ColumnFacts, table_facts


def facts(values: Any, dtype: Any = None) -> ColumnFacts:
    return table_facts(pl.DataFrame({"x": pl.Series(values, dtype=dtype)})).columns[0]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([3, None, 1, 3], pl.Int32, ("integer", "Int32", 1, 2, 1, 3, 3)),
        ([float("nan"), 2.5, None, 1.5], pl.Float64, ("float", "Float64", 2, 2, 1.5, 2.5, 2.5)),
        ([None, "b", "a", "b"], pl.String, ("text", "String", 1, 2, None, None, "b")),
        ([None, "b", "a", "b"], pl.Enum(["a", "b"]), ("text", "String", 1, 2, None, None, "b")),
        ([True, None, True], pl.Boolean, ("boolean", "Boolean", 1, 1, None, None, True)),
        ([date(2020, 1, 2), date(2020, 1, 1)], None, ("time", "Date", 0, 2, date(2020, 1, 1), date(2020, 1, 2), "2020-01-02")),
        (
            [None, datetime(2020, 1, 2)],
            None,
            ("time", "Datetime('us')", 1, 1, *[datetime(2020, 1, 2)] * 2, "2020-01-02 00:00:00"),
        ),
        ([["a", "b"], ["a"], None, ["a", "b"]], None, ("list", "List(String)", 1, 2, None, None, ["a", "b"])),
        ([[0.5], [1.5]], None, ("other", "List(Float64)", 0, 2, None, None, [0.5])),
        ([None, None], pl.String, ("text", "String", 2, 0, None, None, None)),
        ([None, None], pl.Float64, ("float", "Float64", 2, 0, None, None, None)),
        ([float("nan")], pl.Float64, ("float", "Float64", 1, 0, None, None, None)),
        ([None], None, ("other", "Null", 1, 0, None, None, None)),
    ],
)
def test_types(values: list[object], dtype: Any, expected: tuple[object, ...]) -> None:
    found = facts(values, dtype)
    assert (
        *(found.kind, found.dtype.replace("time_unit=", "").replace(", time_zone=None", ""), found.missing),
        *(found.distinct, found.least, found.greatest, found.example),
    ) == expected


def test_long_tails() -> None:
    tail = [1.0] * 90 + [1000.0] * 10
    assert facts(tail).long_tail
    assert facts([int(x) for x in tail]).long_tail
    assert not facts([-1.0, *tail]).long_tail  # log1p is not for these
    assert not facts(list(range(100))).long_tail
    assert not facts([0] * 90 + [9] * 10).long_tail


@pytest.mark.parametrize("as_enum", [False, True])
def test_texts(as_enum: bool) -> None:
    def seen(values: Sequence[str | None]) -> ColumnFacts:
        return facts(values, pl.Enum(sorted({value for value in values if value is not None})) if as_enum else None)

    genres = [
        "|".join(name for place, name in enumerate(["Action", "Drama", "Comedy", "War", "Noir"]) if number >> place & 1)
        for number in range(1, 32)
    ]
    assert seen(genres).joint == "|"
    assert seen([genre.replace("|", "; ") for genre in genres]).joint == ";"
    assert seen([f"{number}|{number + 1}" for number in range(1, 400, 2)]).joint is None  # as many pieces as texts, and more
    assert seen(["one", "two", None]).joint is None
    networks = [f"{('pof', 'skout', 'meetme')[number % 3]}:{number}" for number in range(90)]
    assert (seen(networks).parts, seen(networks).joint) == (":", None)
    assert seen([*networks, None]).parts == ":"
    assert seen([*networks, "alone"]).parts is None
    assert seen([f"pof:{number}" for number in range(90)]).parts is None  # one word says nothing
    assert seen([f"{number}:x" for number in range(90)]).parts is None
    assert seen(["some words here", "and some more"]).words == 3.0


@pytest.mark.parametrize(
    ("values", "iso"),
    [
        (["2020-01-01", "2021-12-31T08:30:00Z", None], True),
        (["2020-01-01 08:30", "2020-01-01 08:30:01.5"], True),
        (["2020-01-01", "yesterday"], False),
        (["2020-13-01"], False),
        (["2020"], False),
        ([None], False),
    ],
)
def test_times_as_text(values: list[str | None], iso: bool) -> None:
    assert facts(values, pl.String).iso_times == iso


def test_a_large_table_is_sampled_in_blocks_from_end_to_end() -> None:
    rows = 450_001
    found = table_facts(pl.DataFrame({"row": np.arange(rows)}))
    places = found.sample["row"].to_numpy()
    assert (found.rows, len(places), places[0], places[-1]) == (rows, 200_000, 0, rows - 1)
    steps = np.diff(places)
    assert int((steps != 1).sum()) == 39  # forty blocks
    assert int(steps.max()) < 2 * 450_001 / 40
    assert (found.column("row").distinct, found.column("row").greatest) == (rows, rows - 1)
    small = pl.DataFrame({"row": np.arange(200_000)})
    assert table_facts(small).sample.equals(small)


def test_very_many_numbers_are_counted_nearly() -> None:
    rows = 5_000_001
    found = facts(np.arange(rows) // 2)
    assert found.distinct == pytest.approx(rows / 2, rel=0.05)
    assert found.distinct != rows // 2 + 1  # an estimate, so that counting needs no memory
