from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.data import Examples, HistoryInput, build_histories
from twotower.types import Prefixes, Ragged

USERS, ITEMS = 3, 4
LOOKUP = [5, 0, 7, 6]  # the row in the vocabulary of each item of the catalogue


class Row(NamedTuple):
    user: int
    item: int
    time: int
    train: bool


tables = st.lists(
    st.builds(Row, st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=14,
)
modes = st.sampled_from(["before", "others"])
own_items = st.sampled_from(["exclude", "allow"])
Mode = Literal["before", "others"]
OwnItem = Literal["exclude", "allow"]


def examples(
    table: list[Row], rows: list[int], entry: HistoryInput | None, *, grow: bool, seen_before: bool = True
) -> Examples:
    user_rows, item_rows = (np.array([getattr(row, name) for row in table], dtype=np.int64) for name in ("user", "item"))
    order = np.argsort([row.time for row in table], kind="stable")
    member = None if grow else np.array([row.train for row in table], dtype=np.bool_)
    histories, before = build_histories(user_rows, item_rows, order, num_users=USERS, member=member)
    chosen = torch.tensor(rows, dtype=torch.int64)
    return Examples(
        user_rows=torch.from_numpy(user_rows)[chosen],
        item_rows=torch.from_numpy(item_rows)[chosen],
        users={"age": torch.tensor([[30.0], [40.0], [50.0]])},
        context={"hour": torch.arange(len(table))[chosen], "tags": Ragged(chosen, torch.arange(len(rows) + 1))},
        histories=histories,
        before=before[chosen],
        seen_before=seen_before,
        history_inputs=() if entry is None else (entry,),
    )


def reads(max_length: int | None = None, mode: Mode = "before", own_item: OwnItem = "exclude") -> HistoryInput:
    return HistoryInput("history", torch.tensor(LOOKUP, dtype=torch.int32), max_length, mode, own_item)


def history_of(found: Examples, rows: list[int], *, training: bool) -> list[list[int]]:
    column = found.queries(torch.tensor(rows, dtype=torch.int64), training=training)["history"]
    assert isinstance(column, Ragged)
    offsets = column.offsets.tolist()
    return [column.values[offsets[i] : offsets[i + 1]].tolist() for i in range(column.num_rows)]


def slowly(table: list[Row], row: int, entry: HistoryInput, *, training: bool, grow: bool) -> list[int]:
    own = (table[row].time, row)
    entries = [i for i, other in enumerate(table) if other.user == table[row].user and (grow or other.train)]
    # histories that grow hold the row that is judged and later ones, which nobody knows yet
    everything = entry.mode == "others" and (training or not grow)
    entries = sorted((i for i in entries if everything or (table[i].time, i) < own), key=lambda i: (table[i].time, i))
    if entry.max_length is not None:
        entries = entries[-entry.max_length :]
    if training and entry.own_item == "exclude":
        entries = [i for i in entries if table[i].item != table[row].item]
    if training:
        entries = [i for i in entries if i != row]
    return [LOOKUP[table[i].item] for i in entries]


@given(tables, modes, own_items, st.none() | st.integers(1, 4))
def test_histories_in_training(table: list[Row], mode: Mode, own_item: OwnItem, max_length: int | None) -> None:
    train = [i for i, row in enumerate(table) if row.train]
    entry = reads(max_length, mode, own_item)
    found = examples(table, train, entry, grow=False)
    expected = [slowly(table, row, entry, training=True, grow=False) for row in train]
    assert history_of(found, list(range(len(train))), training=True) == expected


@given(tables, modes, own_items, st.none() | st.integers(1, 4), st.booleans())
def test_histories_in_evaluation(table: list[Row], mode: Mode, own_item: OwnItem, max_length: int | None, grow: bool) -> None:
    test = [i for i, row in enumerate(table) if not row.train]
    entry = reads(max_length, mode, own_item)
    found = examples(table, test, entry, grow=grow, seen_before=grow)
    expected = [slowly(table, row, entry, training=False, grow=grow) for row in test]
    assert history_of(found, list(range(len(test))), training=False) == expected


@given(tables, modes, st.none() | st.integers(1, 4))
def test_the_own_item_is_never_in_its_history_in_training(table: list[Row], mode: Mode, max_length: int | None) -> None:
    distinct = torch.arange(1, ITEMS + 1, dtype=torch.int32)
    found = examples(
        [row._replace(train=True) for row in table],
        list(range(len(table))),
        HistoryInput("history", distinct, max_length, mode),
        grow=False,
    )
    for row, history in enumerate(history_of(found, list(range(len(table))), training=True)):
        assert table[row].item + 1 not in history


@given(tables, st.integers(1, 5))
def test_rows_that_share_sequences_read_what_they_would_read_alone(table: list[Row], max_length: int) -> None:
    entry = HistoryInput("sequence", torch.tensor(LOOKUP, dtype=torch.int32), max_length, "before", "allow", in_order=True)
    rows = [number for number, row in enumerate(table) if row.train]
    if not rows:
        return
    found = examples(table, rows, entry, grow=False)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    alone, shared = found.queries(chosen, training=True), found.shared_queries_of(found.take(chosen))
    column, sequences = alone["sequence"], shared["sequence"]
    assert isinstance(column, Ragged)
    assert isinstance(sequences, Prefixes)
    assert torch.equal(sequences.ragged().values, column.values)
    assert torch.equal(sequences.ragged().offsets, column.offsets)
    assert alone.keys() == shared.keys()
    # all of it is what lies directly in front of the row, and at least half of what may be read where there is so much
    for place, number in enumerate(chosen.tolist()):
        row = rows[number]
        before = [
            LOOKUP[other.item]
            for at, other in sorted(enumerate(table), key=lambda pair: (pair[1].time, pair[0]))
            if other.user == table[row].user and other.train and (other.time, at) < (table[row].time, row)
        ]
        own = column.values[column.offsets[place] : column.offsets[place + 1]].tolist()
        assert own == before[len(before) - len(own) :]
        assert len(own) >= min(len(before), max_length - max(1, max_length // 2) + 1)


@given(tables, st.integers(1, 5), st.booleans())
def test_a_sequence_that_is_judged_is_the_latest_items(table: list[Row], max_length: int, grow: bool) -> None:
    rows = list(range(len(table)))
    lookup = torch.tensor(LOOKUP, dtype=torch.int32)
    entries = [
        HistoryInput("read", lookup, max_length, "before", "allow", in_order=True),
        HistoryInput("read", lookup, max_length, "before", "allow"),
    ]
    in_order, pooled = (
        examples(table, rows, entry, grow=grow).queries(torch.tensor(rows), training=False) for entry in entries
    )
    one, other = in_order["read"], pooled["read"]
    assert isinstance(one, Ragged)
    assert isinstance(other, Ragged)
    assert torch.equal(one.values, other.values)


def test_what_is_read_in_order_is_what_came_before() -> None:
    lookup = torch.tensor(LOOKUP, dtype=torch.int32)
    wrongs: list[tuple[int | None, Mode, OwnItem]] = [
        (None, "before", "allow"),
        (5, "others", "allow"),
        (5, "before", "exclude"),
    ]
    for wrong in wrongs:
        with pytest.raises(
            ValueError, match="'read': what is read in order needs max_length, mode 'before' and own_item 'allow'"
        ):
            HistoryInput("read", lookup, *wrong, in_order=True)


@given(tables, st.booleans(), st.booleans())
def test_seen_items_are_those_before_the_row_or_all_of_the_user(table: list[Row], grow: bool, seen_before: bool) -> None:
    rows = list(range(len(table)))
    seen = examples(table, rows, None, grow=grow, seen_before=seen_before).seen(torch.tensor(rows))
    for row in rows:
        own = (table[row].time, row)
        expected = {
            other.item
            for i, other in enumerate(table)
            if other.user == table[row].user and (grow or other.train) and (not seen_before or (other.time, i) < own)
        }
        found = seen.values[int(seen.offsets[row]) : int(seen.offsets[row + 1])].tolist()
        assert sorted(found) == sorted(expected)


def test_the_row_itself_is_left_out_but_not_its_repeats_where_they_are_allowed() -> None:
    table = [Row(0, 2, 0, True), Row(0, 3, 1, True), Row(0, 2, 2, True)]
    allowed = examples(table, [0, 1, 2], reads(mode="others", own_item="allow"), grow=False)
    assert history_of(allowed, [0, 1, 2], training=True) == [[6, 7], [7, 7], [7, 6]]
    excluded = examples(table, [0, 1, 2], reads(mode="others"), grow=False)
    assert history_of(excluded, [0, 1, 2], training=True) == [[6], [7, 7], [6]]


def test_columns_are_taken_by_user_and_by_row() -> None:
    table = [Row(2, 0, 0, True), Row(0, 1, 1, True), Row(1, 2, 2, True)]
    found = examples(table, [2, 0, 1], reads(), grow=False)
    assert len(found) == 3
    columns = found.queries(torch.tensor([1, 2, 1]), training=False)
    assert set(columns) == {"age", "hour", "tags", "history"}
    assert torch.equal(columns["age"], torch.tensor([[50.0], [30.0], [50.0]]))  # type: ignore[arg-type]
    assert columns["hour"].tolist() == [0, 1, 0]  # type: ignore[union-attr]
    tags = columns["tags"]
    assert isinstance(tags, Ragged)
    assert tags.values.tolist() == [0, 1, 0]


@given(tables, modes, own_items)
def test_items_of_the_catalogue_in_place_of_rows_of_a_vocabulary(table: list[Row], mode: Mode, own_item: OwnItem) -> None:
    train = [i for i, row in enumerate(table) if row.train]
    entry = HistoryInput("history", None, 3, mode, own_item)
    found = examples(table, train, entry, grow=False)
    expected = [slowly(table, row, entry, training=True, grow=False) for row in train]
    history = history_of(found, list(range(len(train))), training=True)
    assert [[LOOKUP[item] for item in items] for items in history] == expected
