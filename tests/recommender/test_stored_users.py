"""Stored users: rows, histories, dislikes and features by id."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
import torch

from twotower.data import Histories, IdTable
from twotower.errors import DataError
from twotower.recommender import StoredUsers
from twotower.types import Id, Ragged


def users_of(ids: list[Id]) -> StoredUsers:
    """Three users with 2, 0 and 1 items, who disliked 0, 2 and 1."""
    table = IdTable.from_table(pl.DataFrame({"who": ids, "age": [10, 20, 30], "tags": [["a"], [], ["b", "c"]]}), "who")
    histories = Histories(torch.tensor([0, 2, 2, 3]), torch.tensor([5, 4, 6], dtype=torch.int32), torch.ones(3).bool())
    return StoredUsers(table, histories, Ragged(torch.tensor([7, 8, 9]), torch.tensor([0, 0, 2, 3])))


def lists(rows: Ragged) -> list[list[int]]:
    values, ends = rows.values.tolist(), rows.offsets.tolist()
    return [values[start:stop] for start, stop in pairwise(ends)]


@pytest.mark.parametrize("ids", [["c", "a", "b"], [30, 10, 20]])
def test_rows_histories_and_dislikes(ids: list[Id]) -> None:
    users = users_of(ids)
    other: Id = "30" if isinstance(ids[0], int) else 7
    asked = [ids[2], None, ids[0], other, ids[0], ids[1]]
    assert users.rows(asked).tolist() == [2, -1, 0, -1, 0, 1]
    assert lists(users.histories(asked)) == [[6], [], [5, 4], [], [5, 4], []]
    assert lists(users.disliked_at(users.rows(asked))) == [[9], [], [], [], [], [7, 8]]
    assert users.rows([]).tolist() == users.histories([]).values.tolist() == []


def test_membership() -> None:
    users = users_of([30, 10, 20])
    assert 30 in users
    assert [other in users for other in (31, "30", None, [30])] == [False] * 4


def framed(users: StoredUsers, asked: list[Any]) -> pl.DataFrame:
    return users.frame_at(users.rows(asked), users.table.frame.columns, asked)


def test_the_ids_are_those_of_the_table_where_nobody_asks() -> None:
    frame = users_of(["c", "a", "b"]).frame_at(torch.tensor([2, -1]), ["who", "age"])
    assert frame.rows() == [("b", 30), (None, None)]


def test_features_with_nulls_for_the_unknown() -> None:
    users = users_of(["c", "a", "b"])
    frame = framed(users, ["b", "nobody", None, "c"])
    assert frame.to_dict(as_series=False) == {
        "who": ["b", "nobody", None, "c"],  # an unknown id stays, for hashed ids have a row all the same
        "age": [30, None, None, 10],
        "tags": [["b", "c"], None, None, ["a"]],
    }
    assert frame.schema == users.table.frame.schema
    assert framed(users, []).schema == users.table.frame.schema


def test_ids_of_the_other_type_are_unknown() -> None:
    mixed = framed(users_of(["c", "a", "b"]), ["a", 7])
    assert (mixed["who"].to_list(), mixed["age"].to_list()) == (["a", None], [20, None])
    integers = framed(users_of([30, 10, 20]), ["30", 20])
    assert (integers["who"].to_list(), integers["age"].to_list()) == ([None, 20], [None, 30])


def test_what_is_no_id() -> None:
    with pytest.raises(DataError, match="an id must be text or an integer"):
        users_of([30, 10, 20]).rows([[30]])  # type: ignore[list-item]
