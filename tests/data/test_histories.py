from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data import Histories, build_histories
from twotower.data import histories as histories_file
from twotower.types import Ragged

USERS, ITEMS = 4, 5


class Row(NamedTuple):
    user: int
    item: int
    time: int
    member: bool


rows_of_a_table = st.lists(
    st.builds(Row, st.integers(0, USERS - 2), st.integers(-1, ITEMS - 1), st.integers(0, 3), st.booleans()), max_size=14
)


def build(table: list[Row], *, members_only: bool = True) -> tuple[Histories, torch.Tensor]:
    times = np.array([row.time for row in table], dtype=np.int64)
    return build_histories(
        np.array([row.user for row in table], dtype=np.int64),
        np.array([row.item for row in table], dtype=np.int64),
        np.argsort(times, kind="stable"),
        num_users=USERS,  # the last one has no rows
        member=np.array([row.member for row in table], dtype=np.bool_) if members_only else None,
        times=times,
    )


def did(table: list[Row], user: int, *, members_only: bool) -> list[int]:
    """Row numbers that enter the user's history, from the earliest; rows of equal time in the order of the table."""
    rows = [i for i, row in enumerate(table) if row.user == user and row.item >= 0 and (row.member or not members_only)]
    return sorted(rows, key=lambda i: (table[i].time, i))


def did_before(table: list[Row], row: int, *, members_only: bool) -> list[int]:
    own = (table[row].time, row)
    return [i for i in did(table, table[row].user, members_only=members_only) if (table[i].time, i) < own]


def as_lists(column: Ragged) -> list[list[int]]:
    offsets = column.offsets.tolist()
    return [column.values[offsets[i] : offsets[i + 1]].tolist() for i in range(column.num_rows)]


@given(rows_of_a_table, st.booleans(), st.none() | st.integers(1, 3))
def test_what_came_before_a_row_is_a_slice(table: list[Row], members_only: bool, max_length: int | None) -> None:
    histories, before = build(table, members_only=members_only)
    users = torch.tensor([row.user for row in table], dtype=torch.int64)
    expected = [
        [table[i].item for i in did_before(table, row, members_only=members_only)][-(max_length or len(table)) :]
        for row in range(len(table))
    ]
    assert as_lists(histories.slices(users, before, max_length=max_length)) == expected


@given(rows_of_a_table, st.booleans(), st.none() | st.integers(1, 3))
def test_whole_histories_of_all_users(table: list[Row], members_only: bool, max_length: int | None) -> None:
    histories, _ = build(table, members_only=members_only)
    users = torch.arange(USERS)
    entries = [did(table, user, members_only=members_only) for user in range(USERS)]
    whole = [[table[i].item for i in rows] for rows in entries]
    assert histories.num_users == USERS
    found = histories.slices(users, histories.ends_of(users), max_length=max_length)
    assert as_lists(found) == [items[-(max_length or 99) :] for items in whole]
    assert as_lists(Ragged(histories.item_rows, histories.offsets)) == whole
    assert histories.times is not None
    assert histories.times.tolist() == [table[i].time for rows in entries for i in rows]
    first = [item not in items[:place] for items in whole for place, item in enumerate(items)]
    assert histories.first.tolist() == first


@given(rows_of_a_table, st.booleans())
def test_seen_sets_are_distinct(table: list[Row], members_only: bool) -> None:
    histories, before = build(table, members_only=members_only)
    users = torch.tensor([row.user for row in table], dtype=torch.int64)
    for row, found in enumerate(as_lists(histories.seen(users, before))):
        assert len(found) == len(set(found))
        assert set(found) == {table[i].item for i in did_before(table, row, members_only=members_only)}
    everyone = torch.arange(USERS)
    for user, found in enumerate(as_lists(histories.seen(everyone, histories.ends_of(everyone)))):
        assert len(found) == len(set(found))
        assert set(found) == {table[i].item for i in did(table, user, members_only=members_only)}


@given(rows_of_a_table, st.lists(st.integers(0, USERS - 1), max_size=6))
def test_taking_users_is_taking_their_rows(table: list[Row], users: list[int]) -> None:
    histories, _ = build(table)
    taken = histories.take(torch.tensor(users, dtype=torch.int64))
    assert taken.num_users == len(users)
    assert taken.times is not None
    assert histories.times is not None
    for name in ("item_rows", "first", "times"):
        whole = as_lists(Ragged(getattr(histories, name), histories.offsets))
        assert as_lists(Ragged(getattr(taken, name), taken.offsets)) == [whole[user] for user in users]


def test_without_times_and_types_of_columns() -> None:
    rows = np.array([0, 0, 1])
    histories, before = build_histories(rows, np.array([2, 2, 1]), np.array([2, 1, 0]), num_users=2)
    assert histories.times is None
    assert histories.take(torch.tensor([1])).times is None
    assert (histories.offsets.dtype, histories.item_rows.dtype, histories.first.dtype) == (torch.int64, torch.int32, torch.bool)
    # the order is the one that is given: row 1 is the earlier of the two
    assert before.tolist() == [1, 0, 2]
    assert (before.dtype, histories.first.tolist()) == (torch.int32, [True, False, True])


def assert_equal(one: tuple[Histories, torch.Tensor], other: tuple[Histories, torch.Tensor]) -> None:
    for name in ("offsets", "item_rows", "first", "times"):
        found, expected = getattr(one[0], name), getattr(other[0], name)
        assert (found is None) == (expected is None), name
        assert found is None or (found.dtype == expected.dtype and torch.equal(found, expected)), name
    assert torch.equal(one[1], other[1])


@settings(deadline=None)
@given(rows_of_a_table, st.booleans(), st.integers(1, 4))
def test_worked_on_in_parts_it_is_the_same(table: list[Row], members_only: bool, part: int) -> None:
    whole = build(table, members_only=members_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histories_file, "_PART", part)
        assert_equal(build(table, members_only=members_only), whole)


@settings(deadline=None)
@given(rows_of_a_table)
def test_rows_in_order_need_no_order(table: list[Row]) -> None:
    users = np.array([row.user for row in table], dtype=np.int64)
    items = np.array([row.item for row in table], dtype=np.int64)
    expected = build_histories(users, items, np.arange(len(table)), num_users=USERS)
    assert_equal(build_histories(users, items, None, num_users=USERS), expected)
    assert_equal(build_histories(users.astype(np.int32), items.astype(np.int32), None, num_users=USERS), expected)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=6), st.integers(1, 5))
def test_first_meetings_a_few_users_at_a_time(whole: list[list[int]], most: int) -> None:
    offsets = np.cumsum([0, *map(len, whole)])
    items = np.array([item for user in whole for item in user], dtype=np.int32)
    expected = [item not in user[:place] for user in whole for place, item in enumerate(user)]
    assert histories_file._first_meetings(offsets, items, most=most).tolist() == expected


def test_first_meetings_of_the_largest_item_numbers() -> None:
    # two users of 40,000 entries and an item of 31 bits: together they would need more than 63 bits
    items = np.tile(np.array([2**31 - 1, 5], dtype=np.int32), 40_000)
    first = histories_file._first_meetings(np.array([0, 40_000, 80_000]), items)
    assert np.flatnonzero(first).tolist() == [0, 1, 40_000, 40_001]


def test_users_too_many_for_their_rows_are_refused() -> None:
    rows = np.zeros(4, dtype=np.int64)
    with pytest.raises(ValueError, match="numbers of 63 bits together"):
        build_histories(rows + 2**61, rows, None, num_users=1)


def test_columns_may_stay_in_files(tmp_path: Path) -> None:
    users, items = np.array([1, 0, 1, 1], dtype=np.int32), np.array([3, 2, 3, 0], dtype=np.int32)
    stored = []
    for name, values in (("users", users), ("items", items)):
        values.tofile(tmp_path / name)
        stored.append(np.memmap(tmp_path / name, dtype=np.int32, mode="r"))
    found = build_histories(stored[0], stored[1], None, num_users=2)
    assert_equal(found, build_histories(users, items, None, num_users=2))
    assert found[0].item_rows.tolist() == [2, 3, 3, 0]
    assert found[0].first.tolist() == [True, True, False, True]
    assert found[1].tolist() == [1, 0, 2, 3]
