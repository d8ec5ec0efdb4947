"""Where sequences begin, who shares them, and epochs of whole sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.data.sequences import SequenceOrder, sequence_starts, share_sequences


def slow_start(first: int, before: int, max_length: int) -> int:
    start = first
    while before - start > max_length:
        start += max(1, max_length // 2)
    return start


@given(st.integers(0, 50), st.integers(0, 300), st.integers(1, 40))
def test_a_row_reads_from_the_earliest_start_that_reaches_it(first: int, distance: int, max_length: int) -> None:
    before = first + distance
    start = int(sequence_starts(torch.tensor([first]), torch.tensor([before]), max_length))
    assert start == slow_start(first, before, max_length)
    assert before - start <= max_length
    assert before - start >= min(distance, max_length - max(1, max_length // 2) + 1)


def test_slices_of_one_place_share_a_sequence() -> None:
    values = torch.arange(10) * 10
    starts, lengths = torch.tensor([4, 0, 4, 9, 4]), torch.tensor([2, 1, 5, 0, 0])
    shared = share_sequences(values, starts, lengths)
    assert shared.sequences.num_rows == 3
    assert shared.sequences.values.tolist() == [0, 40, 50, 60, 70, 80]
    ragged = shared.ragged()
    rows = [ragged.values[a:b].tolist() for a, b in zip(ragged.offsets[:-1].tolist(), ragged.offsets[1:].tolist(), strict=True)]
    assert rows == [[40, 50], [0], [40, 50, 60, 70, 80], [], []]


def made(num_users: int = 400, *, batch_size: int = 100, seed: int = 1) -> tuple[SequenceOrder, torch.Tensor, torch.Tensor]:
    """Users of very different lengths, whose rows read all that came before, at most 40."""
    counts = np.minimum(np.random.default_rng(0).zipf(1.3, num_users), 90)
    first = torch.from_numpy(np.repeat(np.cumsum(counts) - counts, counts))
    before = torch.arange(int(counts.sum()))
    starts = sequence_starts(first, before, 40)
    return SequenceOrder(starts, before - starts, batch_size=batch_size, seed=seed), starts, before - starts


def test_an_epoch_has_every_row_once_and_sequences_whole() -> None:
    order, starts, _ = made()
    batches = [order.batch(3, index) for index in range(order.num_batches)]
    rows = torch.cat(batches)
    assert torch.equal(rows, order.order(3))
    assert torch.equal(rows.sort().values, torch.arange(len(starts)))
    where = torch.empty_like(rows)
    where[rows] = torch.repeat_interleave(torch.arange(len(batches)), torch.tensor([len(each) for each in batches]))
    for start in set(starts.tolist()):
        assert len(set(where[starts == start].tolist())) == 1
    sizes = [len(each) for each in batches]
    assert min(sizes) > 0
    assert abs(np.mean(sizes) - 100) < 10


def test_it_is_a_function_of_seed_and_epoch() -> None:
    one, other = made()[0], made()[0]
    assert torch.equal(one.order(5), other.order(5))
    one.order(6)
    assert torch.equal(one.batch(5, 2), other.batch(5, 2))
    assert not torch.equal(one.order(5), one.order(6))
    assert not torch.equal(one.order(5), made(seed=2)[0].order(5))


def test_little_is_padded() -> None:
    order, starts, lengths = made(4000)
    read = padded = 0
    for index in range(order.num_batches):
        rows = order.batch(0, index)
        shared = share_sequences(torch.arange(10**6), starts[rows], lengths[rows])
        longest = shared.sequences.lengths + 1
        read += int(longest.sum())
        padded += int(longest.max()) * len(longest)
    assert 1 - read / padded < 0.15


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_fewer_rows_than_a_batch(rows: int) -> None:
    order = SequenceOrder(torch.arange(rows), torch.zeros(rows, dtype=torch.int64), batch_size=50, seed=0)
    assert order.num_batches == 1
    assert sorted(order.batch(0, 0).tolist()) == list(range(rows))


def test_no_batch_is_empty_where_sequences_are_as_long_as_batches() -> None:
    for rows in range(41, 140, 7):
        starts = torch.arange(rows) // 40
        order = SequenceOrder(starts, torch.arange(rows) % 40, batch_size=40, seed=0)
        assert min(len(order.batch(0, index)) for index in range(order.num_batches)) > 0


def test_a_batch_must_hold_a_sequence() -> None:
    with pytest.raises(
        ValueError, match="batches of 8 rows are too small for sequences that 9 rows share: raise the batch size"
    ):
        SequenceOrder(torch.zeros(9, dtype=torch.int64), torch.arange(9), batch_size=8, seed=0)


def test_batches_do_not_come_by_length() -> None:
    order, _, lengths = made(40, batch_size=45)  # so few that all are sorted together
    longest = [int(lengths[order.batch(0, index)].max()) for index in range(order.num_batches)]
    assert len(longest) > 10
    assert longest != sorted(longest)


def test_of_two_features_the_longer_decides_who_is_together() -> None:
    # one user of 41 rows beside 40 of one row
    users = torch.cat([torch.zeros(41, dtype=torch.int64), torch.arange(1, 41)])
    items = (torch.arange(81) % 7).numpy()
    histories, before = build_histories(users.numpy(), items, None, num_users=41)
    inputs = tuple(
        HistoryInput(name, torch.arange(7), max_length=most, own_item="allow", in_order=True)
        for name, most in (("few", 2), ("many", 40), ("some", 5))
    )
    examples = Examples(users, torch.from_numpy(items), {}, {}, histories, before, seen_before=True, history_inputs=inputs)
    batches = Batches(examples, batch_size=41, catalogue_size=7, seed=0, candidates="catalogue")
    for epoch in range(4):
        holding = [index for index in range(len(batches)) if (batches.batch(epoch, index).rows < 41).any()]
        rows = batches.batch(epoch, holding[0]).rows
        assert len(holding) == 1
        assert rows[rows < 41].tolist() == list(range(41))


def test_which_sequences_meet_differs_between_epochs() -> None:
    # all lengths are different, so that what is sorted together meets as it is sorted
    order = SequenceOrder(torch.arange(800), torch.arange(800), batch_size=2, seed=0)

    def meetings(epoch: int) -> set[tuple[int, ...]]:
        return {tuple(sorted(order.batch(epoch, index).tolist())) for index in range(order.num_batches)}

    assert len(meetings(0)) == 400
    assert len(meetings(0) & meetings(1)) < 40
    apart = [abs(one - other) for one, other in meetings(0)]
    assert np.median(apart) < 15  # still of about one length: the neighbours of 128 out of 800
