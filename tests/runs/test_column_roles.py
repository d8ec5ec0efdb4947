"""Whose a column is, by names and by values."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.errors import ConfigError
from twotower.runs.column_roles import Roles, roles_of
from twotower.runs.table_facts import table_facts

ROWS = 600
RNG = np.random.default_rng(8)
USERS, ITEMS = RNG.integers(0, 40, size=ROWS), RNG.integers(0, 25, size=ROWS)
PLAIN: dict[str, Any] = {"user_id": USERS, "item_id": ITEMS}


def roles(columns: dict[str, Any], **named: str) -> Roles:
    return roles_of(table_facts(pl.DataFrame(columns)), **named)


def role(column: Any, name: str = "x") -> str:
    return roles({**PLAIN, name: column}).by_column[name].name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["user", "item"], ("user", "item")),
        (["movieId", "userId"], ("userId", "movieId")),
        (["broadcaster", "viewer"], ("viewer", "broadcaster")),
        (["movie_title", "movie_id", "user_id"], ("user_id", "movie_id")),
        (["customer_key", "title"], ("customer_key", "title")),
        (["a", "b"], ("a", "b")),
        (["b", "asin"], ("b", "asin")),
        (["user", "b"], ("user", "b")),
    ],
)
def test_ids_by_name_or_place(names: list[str], expected: tuple[str, str]) -> None:
    values = [USERS, ITEMS, ITEMS]
    found = roles(dict(zip(names, values, strict=False)))
    assert (found.user, found.item) == expected
    guessed = [name for name in expected if name in ("a", "b")]
    assert [sentence.split("'")[1] for sentence in found.unsure] == guessed
    assert [found.by_column[name].why for name in guessed] == ["a guess"] * len(guessed)


def test_the_columns_of_most_values_are_ids_where_no_name_says_so() -> None:
    columns = {
        "few": USERS % 3,
        "rating_key": USERS * 40 + ITEMS,  # an outcome by name
        "row": np.arange(ROWS),
        "left": USERS,
        "y": USERS / 7,
        "right": [f"i{item}" for item in ITEMS],
    }
    found = roles(columns)
    assert (found.user, found.item) == ("left", "right")
    assert len(found.unsure) == 2
    assert "if it is another, say --user COLUMN" in found.unsure[0]
    assert roles(columns, user="few").item == "left"
    assert roles({"id_a": USERS % 3, "id_b": ITEMS % 3, "c": USERS, "d": ITEMS}).user == "id_a"


def test_named_columns() -> None:
    found = roles({**PLAIN, "other": USERS % 7}, user="item_id", item="other")
    assert (found.user, found.item) == ("item_id", "other")
    assert found.by_column["other"].why == "named so"
    with pytest.raises(ConfigError, match=r"--user x: there is no such column; valid: item_id, user_id"):
        roles(PLAIN, user="x")
    with pytest.raises(ConfigError, match="must be two columns; both are 'user_id'"):
        roles(PLAIN, user="user_id", item="user_id")
    with pytest.raises(ConfigError, match=r"no column can be taken for the item: .* there is none left; say --item COLUMN"):
        roles({"user_id": USERS, "x": USERS / 3})
    floats = pl.Series([None, *USERS[1:].astype(float)])  # integers that pandas could not keep, for a gap
    assert roles({"user_id": floats, "item_id": ITEMS}).user == "user_id"


SECONDS = 1_600_000_000 + 60 * np.arange(ROWS)


@pytest.mark.parametrize(
    ("name", "values", "is_time"),
    [
        ("timestamp", SECONDS, True),
        ("watched_at", SECONDS + 0.5, True),
        ("when", [f"2020-01-{1 + row % 28:02d}" for row in range(ROWS)], True),
        ("x", [f"2020-01-{1 + row % 28:02d}" for row in range(ROWS)], True),
        ("x", pl.Series(SECONDS * 1_000_000).cast(pl.Datetime("us")), True),
        ("x", SECONDS, False),
        ("timestamp", SECONDS * 1000, False),
        ("time", np.arange(ROWS), False),
        ("time", ["noon"] * (ROWS - 1) + ["dawn"], False),
        ("time", pl.Series([None, *SECONDS[1:]]), False),
    ],
)
def test_times(name: str, values: Any, is_time: bool) -> None:
    found = roles({**PLAIN, name: values})
    assert (found.time == name) == is_time
    assert (found.by_column[name].name == "time") == is_time


def test_times_that_can_not_be_used_are_told() -> None:
    found = roles({**PLAIN, "timestamp": SECONDS * 1000})
    (sentence,) = found.unsure
    assert (
        "'timestamp' looks like the time of a row, but times must be Unix seconds, and 1600035940000 looks like milli"
        in sentence
    )
    with pytest.raises(ConfigError, match="--time timestamp: times must be Unix seconds"):
        roles({**PLAIN, "timestamp": SECONDS * 1000}, time="timestamp")
    with pytest.raises(ConfigError, match=r"--time x: it holds neither numbers nor ISO 8601 text, but for instance 'a'"):
        roles({**PLAIN, "x": ["a"] * ROWS}, time="x")
    with pytest.raises(ConfigError, match="--time x: 1 of 600 rows have none"):
        roles({**PLAIN, "x": pl.Series([None, *SECONDS[1:]])}, time="x")
    assert roles({**PLAIN, "a_time": SECONDS, "x": SECONDS}, time="x").time == "x"


def test_sides_by_values() -> None:
    assert role(np.sqrt(ITEMS)) == "candidate"
    assert role([f"g{item % 3}" for item in ITEMS]) == "candidate"
    assert role([f"c{user % 3}" for user in USERS]) == "query"
    assert role(RNG.normal(size=ROWS)) == "unclear"
    assert role([f"v{value}" for value in RNG.integers(0, 3, size=ROWS)]) == "unclear"
    noisy = np.where(RNG.random(ROWS) < 0.02, -1, ITEMS % 5)  # nearly constant: an item may move
    assert role(noisy) == "candidate"
    gaps = pl.Series([None if row % 3 else int(item) for row, item in enumerate(ITEMS)])
    assert role(gaps) == "candidate"
    mostly_one = np.where(RNG.random(ROWS) < 0.02, 1, 0)  # most pairs of rows agree in it, of any two items
    assert role(mostly_one) == "unclear"


def test_sides_by_name() -> None:
    anything = [f"v{value}" for value in RNG.integers(0, 3, size=ROWS)]
    assert role(anything, "user_mood") == "query"
    assert role(anything, "item_colour") == "unclear"  # an item does not change from row to row
    assert role([f"{item % 3}" for item in ITEMS], "user_colour") == "query"
    assert role(anything, "device") == "query"
    found = roles({"viewer": USERS, "broadcaster": ITEMS, "viewer_lang": anything, "broadcaster_lang": ITEMS % 3})
    assert (found.columns("query"), found.columns("candidate")) == (["viewer_lang"], ["broadcaster_lang"])


@pytest.mark.parametrize(
    "name", ["duration", "count", "rating", "watch_time", "user_score", "isClicked", "clicked", "item_views"]
)
def test_outcomes_are_known_by_name(name: str) -> None:
    assert role(RNG.integers(0, 9, size=ROWS), name) == "outcome"
    assert role(USERS % 5, name) == "outcome"


def test_what_is_called_and_constant_as_the_items_is_no_outcome() -> None:
    assert role(ITEMS % 7, "item_duration") == "candidate"
    assert role(ITEMS % 7, "duration") == "outcome"


def test_columns_without_use() -> None:
    assert role(["a"] * ROWS) == "useless"
    assert role(pl.Series([None] * ROWS, dtype=pl.String)) == "useless"
    assert role(pl.Series([[0.5, 1.0], [0.5, 2.0]] * (ROWS // 2))) == "useless"
    assert role(pl.Series([None, "a"] * (ROWS // 2))) == "useless"


@pytest.mark.parametrize("odd", [float("inf"), float("-inf")])
def test_an_infinity_is_no_input(odd: float) -> None:
    found = roles({**PLAIN, "x": np.where(ITEMS == 3, odd, ITEMS / 2)}).by_column["x"]
    assert (found.name, found.why) == ("unclear", "holds an infinity, which no feature reads: correct it")


def test_too_few_repeats_to_tell() -> None:
    found = roles({"user": np.arange(30), "item": np.arange(30)[::-1].copy(), "x": np.arange(30) % 4})
    assert found.by_column["x"].why == "too few repeats to tell whose it is"
    assert found.by_column["x"].name == "unclear"
