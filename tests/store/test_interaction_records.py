"""Interactions within one transaction: what is written, what the head says of it, and how they are found."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.store import Interaction, interaction_records
from twotower.store.file_format import make_file
from twotower.store.head import read_head
from twotower.store.interaction_records import add_interactions, read_history, read_interactions

PATH = Path("live.db")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    make_file(tmp_path / "live.db", item_kind="text", user_kind="text")
    with contextlib.closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as connection:
        yield connection


def test_interactions_are_counted_and_summed(connection: sqlite3.Connection) -> None:
    head = read_head(connection, PATH)
    assert add_interactions(connection, head, [Interaction("u", "a", 3.0), Interaction("v", "b")]) == 2
    (total,) = connection.execute("SELECT sum(checksum) FROM interactions").fetchone()
    assert (head.interactions_last, head.interactions_count, head.interactions_sum) == (2, 2, total)
    assert [entry.sequence for entry in read_interactions(connection, PATH, 0, None)] == [1, 2]


def test_without_a_time_it_is_ordered_by_the_latest_one_of_its_user(connection: sqlite3.Connection) -> None:
    head = read_head(connection, PATH)
    add_interactions(connection, head, [Interaction("u", "a"), Interaction("u", "b", 5.0), Interaction("v", "c", 9.0)])
    add_interactions(
        connection, head, [Interaction("u", "d", 2.0), Interaction("u", "e"), Interaction("u", "f", 7.0), Interaction("u", "g")]
    )
    found = connection.execute("SELECT item, at FROM interactions ORDER BY sequence").fetchall()
    assert found == [("a", -math.inf), ("b", 5.0), ("c", 9.0), ("d", 2.0), ("e", 5.0), ("f", 7.0), ("g", 7.0)]
    assert [entry.item for entry in read_history(connection, PATH, "u", None, 0)] == ["a", "d", "b", "e", "f", "g"]


def test_a_history_is_read_from_the_index_alone_and_not_sorted(connection: sqlite3.Connection) -> None:
    for statement, arguments in ((interaction_records._HISTORY, ("u", 0, 1)), (interaction_records._LATEST, ("u",))):
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]
        assert plan == ["SEARCH interactions USING COVERING INDEX interactions_by_user (user=?)"]
