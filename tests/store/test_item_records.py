"""Changes of items within one transaction: what is written, and what the head says of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.store.entries import ItemEntry
from twotower.store.file_format import make_file
from twotower.store.head import read_head
from twotower.store.item_records import add_item_changes, forget_superseded, read_item_changes

PATH = Path("live.db")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    make_file(tmp_path / "live.db", item_kind="text", user_kind="text")
    with contextlib.closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as connection:
        yield connection


def test_changes_of_items_are_counted_and_summed(connection: sqlite3.Connection) -> None:
    head = read_head(connection, PATH)
    assert add_item_changes(connection, head, [ItemEntry("a", "{}"), ItemEntry("b", "{}"), ItemEntry("a", None)]) == 3
    sums = [checksum for (checksum,) in connection.execute("SELECT checksum FROM item_changes ORDER BY sequence")]
    assert (head.items_last, head.items_count, head.items_sum) == (3, 3, sum(sums))
    assert forget_superseded(connection, head, 1, 3) == 0, "the first is not looked at"
    assert forget_superseded(connection, head, 0, 2) == 1
    assert (head.items_last, head.items_count, head.items_sum) == (3, 2, sum(sums[1:]))
    assert [change.sequence for change in read_item_changes(connection, PATH, 0, None)] == [2, 3]
