"""The sketch against a slow one in plain Python, against true counts, and against its guarantee."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.losses import CountMinSketch, log_q_from_counts

ANY_ID = st.integers(-(2**63), 2**63 - 1)


class SlowSketch:
    """By whole numbers of any size; takes the numbers of the hash functions and nothing else."""

    def __init__(self, sketch: CountMinSketch) -> None:
        drawn: list[int] = np.random.SeedSequence(0).generate_state(3 * sketch.depth, np.uint64).tolist()
        self.width, self.depth, self.conservative = sketch.width, sketch.depth, sketch.conservative
        self.numbers = [(drawn[row], drawn[sketch.depth + row], drawn[2 * sketch.depth + row]) for row in range(sketch.depth)]
        self.counters = [[0] * self.width for _ in range(self.depth)]

    def place(self, row: int, key: int) -> int:
        low, high, plus = self.numbers[row]
        bits = key % 2**64
        place: int = (low * (bits % 2**32) + high * (bits // 2**32) + plus) % 2**64 // (2**64 // self.width)
        return place

    def estimate(self, key: int) -> int:
        return min(self.counters[row][self.place(row, key)] for row in range(self.depth))

    def add(self, keys: list[int]) -> None:
        before = {key: self.estimate(key) for key in keys}
        for row in range(self.depth):
            counters = self.counters[row]
            asked = list(counters)
            for key, times in Counter(keys).items():
                place = self.place(row, key)
                if self.conservative:
                    asked[place] = max(asked[place], before[key] + times)
                else:
                    asked[place] += times
            self.counters[row] = asked


@pytest.mark.parametrize("conservative", [True, False])
@given(batches=st.lists(st.lists(ANY_ID | st.integers(0, 9), max_size=12), max_size=5), asked=st.lists(ANY_ID, max_size=5))
def test_every_counter_is_that_of_the_slow_sketch(conservative: bool, batches: list[list[int]], asked: list[int]) -> None:
    sketch = CountMinSketch(width=8, depth=3, conservative=conservative)
    slow = SlowSketch(sketch)
    for batch in batches:
        sketch.add(torch.tensor(batch, dtype=torch.int64))
        slow.add(batch)
        assert sketch.counters.tolist() == slow.counters
    keys = asked + [key for batch in batches for key in batch]
    assert sketch.estimate(torch.tensor(keys, dtype=torch.int64)).tolist() == [slow.estimate(key) for key in keys]
    assert sketch.total == sum(map(len, batches))


def test_hashes_are_the_same_on_every_machine() -> None:
    sketch = CountMinSketch(width=2**20, depth=2)
    sketch.add(torch.tensor([0, 1, -1, 2**40], dtype=torch.int64))
    assert [row.nonzero().flatten().tolist() for row in sketch.counters] == [
        [36845, 374705, 851651, 934586],
        [33372, 377622, 642228, 862885],
    ]
    other = CountMinSketch(width=2**20, depth=2, seed=1)
    other.add(torch.tensor([0, 1, -1, 2**40], dtype=torch.int64))
    assert not torch.equal(other.counters, sketch.counters)


def zipf(rows: int, size: int, seed: int = 0) -> torch.Tensor:
    chances = 1 / np.arange(1, size + 1)
    return torch.from_numpy(np.random.default_rng(seed).choice(size, rows, p=chances / chances.sum()))


@pytest.mark.parametrize("conservative", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_estimate_is_below_the_count_and_few_are_far_above_it(conservative: bool, depth: int) -> None:
    # Of one id, P[error > e N / width] <= exp(-depth): Markov's bound for each row, and rows are independent. It is nearly
    # reached where N lies in width / e ids of equal counts, of which to meet one is to be above: here that has a probability of
    # 1 - (1 - 1 / 64)^23 = .304 in each row, under exp(-1) = .368. Of the mean over seeds, 4 standard errors are by chance once
    # in 30,000 times.
    width, heavy, light, seeds = 64, 23, 300, 200
    true = torch.cat([torch.full((heavy,), 400), torch.arange(light) % 2])
    items = torch.repeat_interleave(torch.arange(len(true)), true)
    items = items[torch.randperm(len(items), generator=torch.Generator().manual_seed(0))]
    shares = []
    for seed in range(seeds):
        sketch = CountMinSketch(width, depth, seed=seed, conservative=conservative)
        for batch in torch.split(items, 4_000):
            sketch.add(batch)
        errors = sketch.estimate(torch.arange(len(true))) - true
        assert int(errors.min()) >= 0
        assert sketch.total == len(items)
        shares.append(float((errors > math.e * len(items) / width)[heavy:].double().mean()))
    assert np.mean(shares) <= math.exp(-depth) + 4 * np.std(shares) / math.sqrt(seeds)
    assert np.mean(shares) > 0.5 * 0.304**depth  # so that the bound is tried


def test_two_ids_meet_as_often_as_by_chance() -> None:
    # the guarantee needs no more than that; of 4,000 hash functions, 250 +- 15 would let a pair meet in 16 counters
    pairs = [(0, 1), (5, 5 + 2**32), (-1, 2**63 - 1), (12, 24), (2**31, 2**33)]
    meetings = np.zeros(len(pairs))
    for seed in range(250):
        sketch = CountMinSketch(width=16, depth=16, seed=seed)
        first, second = (sketch._places(np.array(ids, dtype=np.int64)) for ids in zip(*pairs, strict=True))
        meetings += (first == second).sum(0)
    assert meetings == pytest.approx(np.full(len(pairs), 250), abs=5 * math.sqrt(4000 / 16 * 15 / 16))


def test_the_conservative_update_is_nearer_than_the_plain_one() -> None:
    items, size = zipf(20_000, 3_000), 3_000
    sketches = [CountMinSketch(256, 3, conservative=conservative) for conservative in (True, False)]
    for sketch in sketches:
        for batch in torch.split(items, 500):
            sketch.add(batch)
    conservative, plain = (sketch.estimate(torch.arange(size)) for sketch in sketches)
    assert bool((conservative <= plain).all())
    assert conservative.double().mean() < 0.8 * plain.double().mean()


def test_a_plain_sketch_is_the_sum_of_its_parts() -> None:
    whole, first, second = (CountMinSketch(16, 2, conservative=False) for _ in range(3))
    items = zipf(300, 50)
    whole.add(items)
    first.add(items[:100])
    second.add(items[100:])
    assert torch.equal(whole.counters, first.counters + second.counters)


def test_ids_that_share_no_counter_have_their_counts_and_the_log_q_of_held_ones_to_the_bit() -> None:
    items = zipf(5_000, 40)
    sketch = CountMinSketch(2**14, 4)
    for batch in torch.split(items, 300):
        sketch.add(batch)
    true = torch.bincount(items, minlength=41)
    assert torch.equal(sketch.estimate(torch.arange(41)), true)
    assert torch.equal(sketch.log_q(torch.arange(41)), log_q_from_counts(true))


def test_repeats_counts_and_batches_mean_the_same_where_nothing_is_shared() -> None:
    one, other = CountMinSketch(2**12), CountMinSketch(2**12)
    one.add(torch.tensor([4, 9, 4, 4, 7]))
    other.add(torch.tensor([7, 4, 11, 9, 4]), torch.tensor([1, 2, 0, 1, 1]))
    assert torch.equal(one.counters, other.counters)
    assert one.total == other.total == 5
    assert one.estimate(torch.tensor([11])).item() == 0


def test_nothing_to_add_is_nothing_added() -> None:
    sketch = CountMinSketch(8, 2)
    sketch.add(torch.empty(0, dtype=torch.int64))
    sketch.add(torch.tensor([3]), torch.tensor([0]))
    assert sketch.total == 0
    assert not bool(sketch.counters.any())
    assert sketch.estimate(torch.empty(0, dtype=torch.int64)).tolist() == []


def test_counts_are_halved_and_rounded_up_after_so_many_rows() -> None:
    sketch = CountMinSketch(2**12, 2, half_life=8)
    sketch.add(torch.tensor([1] * 5 + [2] * 2))
    assert (sketch.estimate(torch.tensor([1, 2])).tolist(), sketch.total) == ([5, 2], 7)
    sketch.add(torch.tensor([3, 3]))
    assert (sketch.estimate(torch.tensor([1, 2, 3, 4])).tolist(), sketch.total) == ([3, 1, 1, 0], 5)
    sketch.add(torch.tensor([3] * 7))  # counted anew from there
    assert (sketch.estimate(torch.tensor([1, 3])).tolist(), sketch.total) == ([3, 8], 12)
    sketch.add(torch.tensor([3]))
    assert (sketch.estimate(torch.tensor([1, 2, 3])).tolist(), sketch.total) == ([2, 1, 5], 7)


def test_what_drifts_is_followed_with_a_half_life_and_not_without() -> None:
    generator = np.random.default_rng(0)
    lasting, fading = CountMinSketch(2**10), CountMinSketch(2**10, half_life=1_000)
    for step in range(40):
        chances = [0.8, 0.2] if step < 30 else [0.1, 0.9]
        batch = torch.from_numpy(generator.choice(2, 500, p=chances))
        lasting.add(batch)
        fading.add(batch)
    asked = torch.tensor([0])
    assert fading.log_q(asked).exp().item() == pytest.approx(0.1, abs=0.03)
    assert lasting.log_q(asked).exp().item() == pytest.approx((30 * 0.8 + 10 * 0.1) / 40, abs=0.03)


@pytest.mark.parametrize("conservative", [True, False])
def test_counters_never_overflow(conservative: bool) -> None:
    sketch, counted, since = CountMinSketch(2, 1, conservative=conservative), 0, 0
    for at in range(160):  # the worst: as many as can wait for being halved, and then as many as can come at once
        number = 2**29 - 1 if at % 2 == 0 else 2**29
        sketch.add(torch.tensor([5]), torch.tensor([number]))
        counted, since = counted + number, since + number
        if since >= 2**29:
            counted, since = (counted + 1) // 2, 0
        assert int(sketch.estimate(torch.tensor([5]))) == sketch.total == counted
    assert counted > 2**29


def test_its_state_is_its_state() -> None:
    one, other = CountMinSketch(64, 3, half_life=50), CountMinSketch(64, 3, half_life=50)
    for batch in torch.split(zipf(70, 30), 10):
        one.add(batch)
    other.load_state_dict(one.state_dict())
    for batch in torch.split(zipf(100, 30, seed=1), 10):
        one.add(batch)
        other.add(batch)
    assert {name: value.tolist() for name, value in one.state_dict().items()} == {
        name: value.tolist() for name, value in other.state_dict().items()
    }
    assert torch.equal(one.log_q(torch.arange(40)), other.log_q(torch.arange(40)))


def test_no_probability_before_anything_was_counted() -> None:
    with pytest.raises(ValueError, match="nothing was counted yet: add the ids of a batch"):
        CountMinSketch().log_q(torch.tensor([1]))


@pytest.mark.parametrize("options", [{"width": 1}, {"width": 100}, {"width": 0}, {"width": 2**32}])
def test_widths_are_powers_of_two(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"width must be a power of 2, from 2 to 2.31; came {options['width']}"):
        CountMinSketch(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be from 1 to 16, and the seed not negative; came 0 and 0"),
        ({"depth": 17}, "came 17 and 0"),
        ({"seed": -1}, "came 4 and -1"),
        ({"half_life": 0}, "half_life must be from 1 to 2.29 rows; came 0"),
        ({"half_life": 2**29 + 1}, "came 536870913"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CountMinSketch(**options)


@pytest.mark.parametrize(
    ("ids", "counts", "message"),
    [
        (torch.tensor([1.0]), None, r"must be int64, of one dimension.*came torch.float32 of shape \[1\] on cpu"),
        (torch.tensor([[1]]), None, r"of shape \[1, 1\]"),
        (torch.tensor([1]), torch.tensor([1, 2]), r"int64 of shape \[1\] on cpu, torch.int64 of shape \[2\]"),
        (torch.tensor([1]), torch.tensor([1.0]), "torch.float32"),
        (torch.tensor([1, 2]), torch.tensor([1, -2]), "counts must not be negative; came -2"),
        (torch.tensor([1]), torch.tensor([2**29 + 1]), "at most 2.29 can be counted at once; came 536,870,913"),
    ],
)
def test_bad_ids_and_counts_are_refused_and_change_nothing(
    ids: torch.Tensor, counts: torch.Tensor | None, message: str
) -> None:
    sketch = CountMinSketch(8, 2)
    with pytest.raises(ValueError, match=message):
        sketch.add(ids, counts)
    assert not bool(sketch.counters.any())
    assert sketch.total == 0
