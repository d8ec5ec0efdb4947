from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.errors import CorruptStoreError
from twotower.store.file_format import make_file
from twotower.store.head import Head, read_head, write_head


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    make_file(tmp_path / "live.db", item_kind="text", user_kind="integer")
    with contextlib.closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as connection:
        yield connection


def test_a_new_one_is_empty(connection: sqlite3.Connection) -> None:
    head = read_head(connection, Path("live.db"))
    assert head == Head(head.identity, "text", "integer", 0, 0, 0, 0, 0, 0)
    assert len(head.identity) == 16


def test_it_is_replaced_as_a_whole(connection: sqlite3.Connection) -> None:
    head = Head("abc", "integer", "text", 1, 2, 3, 4, 5, 2**62)
    write_head(connection, head)
    assert read_head(connection, Path("live.db")) == head


@pytest.mark.parametrize(
    "column",
    [
        "identity",
        "item_kind",
        "user_kind",
        "items_last",
        "items_count",
        "items_sum",
        "interactions_last",
        "interactions_count",
        "interactions_sum",
        "checksum",
    ],
)
def test_any_change_is_noticed(connection: sqlite3.Connection, column: str) -> None:
    connection.execute(f"UPDATE head SET {column} = 'x'")
    with pytest.raises(CorruptStoreError, match=r"live\.db is damaged: its first record has changed"):
        read_head(connection, Path("live.db"))
