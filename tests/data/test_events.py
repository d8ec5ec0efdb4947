"""What examples say of events, against loops over the table: times, columns and when the next one is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.types import Events, Prefixes, Ragged

USERS, ITEMS = 3, 7
LOOKUP = torch.tensor([3, 0, 5, 1, 2, 6, 4], dtype=torch.int32)
table = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(0, 40)), min_size=2, max_size=40)


def examples(rows: list[tuple[int, int, int]], chosen: list[int], length: int, *, requested: bool) -> Examples:
    users, items, times = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(3))
    order = np.argsort(times, kind="stable")
    member = np.isin(np.arange(len(rows)), chosen)
    ratings = np.arange(len(rows), dtype=np.int32)
    histories, before = build_histories(
        users, items, order, num_users=USERS, member=member, times=times, columns={"sequence/rating": ratings}
    )
    take = torch.tensor(chosen)
    return Examples(
        user_rows=torch.from_numpy(users)[take],
        item_rows=torch.from_numpy(items)[take],
        users={},
        context={},
        histories=histories,
        before=before[take],
        seen_before=True,
        history_inputs=(
            HistoryInput(
                "sequence",
                LOOKUP,
                length,
                own_item="allow",
                in_order=True,
                times=True,
                request_time=requested,
                columns={"rating": "sequence/rating"},
            ),
        ),
        times=torch.from_numpy(times)[take] if requested else None,
    )


@settings(max_examples=40, deadline=None)
@given(rows=table, length=st.integers(1, 6), requested=st.booleans(), seed=st.integers(0, 9))
def test_events_are_those_before_the_row(rows: list[tuple[int, int, int]], length: int, requested: bool, seed: int) -> None:
    kept = np.random.default_rng(seed).random(len(rows)) < 0.8
    chosen = [row for row in range(len(rows)) if kept[row]] or [0]
    found = examples(rows, chosen, length, requested=requested)
    column = found.queries(torch.arange(len(chosen)), training=False)["sequence"]
    assert isinstance(column, Events)
    assert isinstance(column.items, Ragged)
    assert column.times is not None
    offsets = column.items.offsets.tolist()
    for place, row in enumerate(chosen):
        user, _, time = rows[row]
        earlier = [at for at in chosen if rows[at][0] == user and (rows[at][2], at) < (time, row)]
        earlier = sorted(earlier, key=lambda at: (rows[at][2], at))[-length:]
        part = slice(offsets[place], offsets[place + 1])
        assert column.items.values[part].tolist() == [int(LOOKUP[rows[at][1]]) for at in earlier]
        assert column.times[part].tolist() == [rows[at][2] for at in earlier]
        assert column.columns["rating"][part].tolist() == earlier
        if requested:
            assert column.asked is not None
            assert int(column.asked[place]) == time
    assert requested or column.asked is None


@settings(max_examples=40, deadline=None)
@given(rows=table, length=st.integers(1, 6), requested=st.booleans(), batch=st.integers(7, 30))
def test_rows_that_share_a_sequence_read_what_they_would_alone(
    rows: list[tuple[int, int, int]], length: int, requested: bool, batch: int
) -> None:
    found = examples(rows, list(range(len(rows))), length, requested=requested)
    batches = Batches(found, batch_size=batch, catalogue_size=ITEMS, seed=1, candidates="in_batch")
    for index in range(len(batches)):
        made = batches.batch(0, index)
        shared = made.queries["sequence"]
        alone = found.queries(made.rows, training=True)["sequence"]
        assert isinstance(shared, Events)
        assert isinstance(shared.items, Prefixes)
        assert isinstance(alone, Events)
        each = shared.ragged()
        assert isinstance(each.items, Ragged)
        assert isinstance(alone.items, Ragged)
        assert torch.equal(each.items.values, alone.items.values)
        assert torch.equal(each.items.offsets, alone.items.offsets)
        assert each.times is not None
        assert alone.times is not None
        assert torch.equal(each.times, alone.times)
        assert torch.equal(each.columns["rating"], alone.columns["rating"])
        if requested:
            assert each.asked is not None
            assert alone.asked is not None
            assert torch.equal(each.asked, alone.asked)
        assert requested or (each.asked is None and alone.asked is None)


def test_histories_of_users_take_their_columns_along() -> None:
    found = examples([(0, 1, 5), (1, 2, 6), (0, 3, 7), (2, 4, 8)], [0, 1, 2, 3], 3, requested=False).histories
    taken = found.take(torch.tensor([2, 0]))
    assert taken.columns["sequence/rating"].tolist() == [3, 0, 2]
    assert taken.times is not None
    assert taken.times.tolist() == [8, 5, 7]


def test_what_can_not_be_read_is_refused() -> None:
    lookup = torch.zeros(3, dtype=torch.int32)
    with pytest.raises(ValueError, match="times and columns of events are of what is read in order"):
        HistoryInput("history", lookup, 5, times=True)
    with pytest.raises(ValueError, match="times and columns of events are of what is read in order"):
        HistoryInput("history", lookup, 5, columns={"a": "b"})
    with pytest.raises(ValueError, match="has a meaning beside those of the events only"):
        HistoryInput("history", lookup, 5, own_item="allow", in_order=True, request_time=True)
    found = examples([(0, 1, 5), (1, 2, 6)], [0, 1], 3, requested=True)
    for lacking in (
        Examples(**{**vars(found), "times": None}),
        Examples(**{**vars(found), "histories": type(found.histories)(*list(vars(found.histories).values())[:3])}),
    ):
        with pytest.raises(ValueError, match="lack the times that are read"):
            lacking.queries(torch.arange(2), training=False)
