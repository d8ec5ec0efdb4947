"""Rows that are filled up hold what ragged rows hold, whatever is done with them."""

from __future__ import annotations

import pytest
import torch
from emulated_device import DEVICE, emulated
from hypothesis import given
from hypothesis import strategies as st

from twotower.filled import Filled, Fills, fill_slices
from twotower.types import Ragged, gather_slices

ROWS = st.lists(st.lists(st.integers(1, 5), max_size=4), max_size=6)


def _ragged(rows: list[list[int]]) -> Ragged:
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    values = torch.tensor([value for row in rows for value in row], dtype=torch.int64)
    return Ragged(values, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))


def _filled(rows: list[list[int]]) -> Filled:
    column = _ragged(rows)
    return fill_slices(column.values, column.offsets[:-1], column.lengths, most=4 * len(rows))


def _same(found: Ragged, expected: Ragged) -> None:
    assert found.offsets.tolist() == expected.offsets.tolist()
    count = len(expected.values)
    assert found.values[:count].tolist() == expected.values.tolist()
    # what fills are the same values again and again, so that it touches nothing else, and none of them much more than others
    more = len(found.values) - count
    assert found.values[count:].tolist() == (expected.values.tolist() * (more // max(count, 1) + 1) or [0] * more)[:more]


@given(ROWS, st.data())
def test_it_is_kept_and_taken_as_ragged_rows_are(rows: list[list[int]], data: st.DataObject) -> None:
    column, filled = _ragged(rows), _filled(rows)
    _same(filled, column)
    assert len(filled.values) == 4 * len(rows) or not len(column.values)
    count = len(column.values)
    assert filled.row_of_values()[:count].tolist() == column.row_of_values().tolist()
    assert set(filled.row_of_values()[count:].tolist()) <= {len(rows)}
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(filled.values), max_size=len(filled.values))))
    mask = mask.to(torch.bool)
    _same(filled.keep(mask), column.keep(mask[:count]))
    own = torch.tensor(data.draw(st.lists(st.integers(1, 5), min_size=len(rows), max_size=len(rows))), dtype=torch.int64)
    _same(filled.without(own), column.without(own))
    fewer, fewer_filled = column.without(own), filled.without(own)
    _same(fewer_filled.keep(fewer_filled.values > 2), fewer.keep(fewer.values > 2))
    if rows:
        taken = torch.tensor(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5)), dtype=torch.int64)
        fills = Fills.of(column)
        _same(fills.take(taken), column.take(taken))
        assert len(fills.take(taken).values) == len(taken) * max(map(len, rows)) or not count


@given(ROWS)
def test_bags_hold_every_value_once(rows: list[list[int]]) -> None:
    filled = _filled(rows)
    bags = filled.bags()
    assert len(bags) == 2 * len(rows) + 1
    assert bags[: len(rows) + 1].tolist() == filled.offsets.tolist()
    assert int(bags[-1]) == len(filled.values) or not rows
    lengths = bags[1:] - bags[:-1]
    assert not (lengths < 0).any()
    assert bool((lengths[len(rows) :] <= 4).all())


def test_a_recording_takes_other_rows() -> None:
    values = torch.arange(10)
    with emulated() as emulation:
        there = values.to(DEVICE)
        starts, lengths = torch.tensor([2, 7], device=DEVICE), torch.tensor([3, 1], device=DEVICE)
        own = torch.tensor([3, 0], device=DEVICE)
        with emulation.record() as recording:
            found = fill_slices(there, starts, lengths, most=6).without(own)
        for new_starts, new_lengths in (([0, 3], [2, 3]), ([9, 9], [0, 0]), ([1, 1], [3, 3])):
            starts.copy_(torch.tensor(new_starts))
            lengths.copy_(torch.tensor(new_lengths))
            recording.replay()
            expected = gather_slices(values, torch.tensor(new_starts), torch.tensor(new_lengths)).without(torch.tensor([3, 0]))
            _same(Ragged(found.values.cpu(), found.offsets.cpu()), expected)


def test_rows_that_are_filled_up_are_not_taken_from() -> None:
    with pytest.raises(TypeError, match="no rows to take"):
        _filled([[1]]).take(torch.tensor([0]))
