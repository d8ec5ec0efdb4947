from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.shuffle import permuted


def whole(size: int, *key: int) -> list[int]:
    found: list[int] = permuted(np.arange(size), size, key).tolist()
    return found


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 1_000, 4_095, 4_096, 4_097, 100_003])
def test_it_is_a_permutation(size: int) -> None:
    for epoch in range(3 if size < 1_000 else 1):
        assert sorted(whole(size, 5, epoch)) == list(range(size))


def test_a_key_gives_a_permutation_of_its_own() -> None:
    orders = [whole(1_000, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert whole(1_000, 1, 2) == orders[5]
    for one in range(9):
        for other in range(one):
            # of two independent permutations one place in a thousand agrees; ten places have a chance of 1e-7
            assert sum(a == b for a, b in zip(orders[one], orders[other], strict=True)) < 10


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_any_part_is_computed_by_itself(size: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    expected = whole(size, 3, 1)
    found = permuted(np.array(places, dtype=np.int64), size, [3, 1])
    assert found.tolist() == [expected[place] for place in places]
    assert found.dtype == np.int64


def test_the_largest_sizes() -> None:
    places = np.array([[0, 1], [2**40, 2**62 - 1]])
    found = permuted(places, 2**62, [1])
    assert found.shape == (2, 2)
    assert len(np.unique(found)) == 4
    assert ((found >= 0) & (found < 2**62)).all()


@pytest.mark.parametrize(("size", "blocks"), [(60_000, 20), (2**16, 32), (2**16 + 1, 16), (100_003, 25)])
def test_it_spreads_every_block_over_all(size: int, blocks: int) -> None:
    """Chi-square of block of the place against block of the row: what a uniform permutation gives, on average."""
    statistics = []
    for epoch in range(12):
        rows = np.array(whole(size, 0, epoch))
        place_block, row_block = np.arange(size) * blocks // size, rows * blocks // size
        counts = np.bincount(place_block * blocks + row_block, minlength=blocks * blocks)
        expected = size / blocks**2
        statistics.append(float(((counts - expected) ** 2 / expected).sum()))
    freedom = (blocks - 1) ** 2
    # a shuffle within blocks, or of blocks, would give thousands; no spread at all (a grid) about 0
    assert abs(np.mean(statistics) - freedom) < 4 * math.sqrt(2 * freedom / len(statistics))
    assert all(abs(value - freedom) < 5 * math.sqrt(2 * freedom) for value in statistics)


def test_neighbours_do_not_stay_together() -> None:
    size = 2**16
    rows = np.array(whole(size, 2, 0))
    steps = np.diff(rows)
    # the differences of a uniform permutation: |difference| has mean size / 3 and standard deviation size / sqrt(18)
    assert abs(np.abs(steps).mean() - size / 3) < 5 * size / math.sqrt(18 * size)
    assert len(np.unique(steps)) > size / 3
    # low bits of a row say nothing about low bits of its place
    odd = (rows % 2 == np.arange(size) % 2).mean()
    assert abs(odd - 0.5) < 5 * 0.5 / math.sqrt(size)


def test_every_row_comes_first_about_as_often() -> None:
    size, keys = 10, 3_000
    firsts = np.array([permuted(np.array([0]), size, [key])[0] for key in range(keys)])
    counts = np.bincount(firsts, minlength=size)
    assert float(((counts - keys / size) ** 2 / (keys / size)).sum()) < 27.9  # of 9 degrees of freedom, chance of 1e-3


def test_what_is_out_of_range_is_refused() -> None:
    for size in (0, 2**62 + 1):
        with pytest.raises(ValueError, match=r"must be in \[1, 2\*\*62\]"):
            permuted(np.array([0]), size, [0])
    for place in (-1, 7):
        with pytest.raises(ValueError, match=r"places must be in \[0, 7\)"):
            permuted(np.array([place]), 7, [0])
    assert permuted(np.array([], dtype=np.int64), 7, [0]).tolist() == []
