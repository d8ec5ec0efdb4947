from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import catalogue_coverage, gini


@given(st.lists(st.permutations([0, 1, 2, 3, 4, -1, -1]).map(lambda each: each[:3]), min_size=1, max_size=5), st.integers(5, 9))
def test_coverage_is_the_share_of_items_in_some_list(lists: list[list[int]], size: int) -> None:
    expected = sum(any(item in each for each in lists) for item in range(size)) / size
    assert catalogue_coverage(np.array(lists), size) == pytest.approx(expected, rel=1e-12)


def test_coverage_by_hand() -> None:
    assert catalogue_coverage(np.array([[0, 1, 2]]), 3) == 1.0
    assert catalogue_coverage(np.array([[4, 1], [1, 4], [4, -1]]), 10) == 0.2
    assert catalogue_coverage(np.array([[-1, -1]]), 10) == 0.0
    assert catalogue_coverage(np.empty((0, 10), dtype=np.int64), 10) == 0.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any), st.integers(1, 5))
def test_gini_is_half_the_mean_difference_by_the_mean(counts: list[int], factor: int) -> None:
    size = len(counts)
    difference = sum(abs(one - other) for one in counts for other in counts) / size**2
    found = gini(np.array(counts))
    assert found == pytest.approx(difference / (2 * sum(counts) / size), rel=1e-9, abs=1e-12)
    assert 0 <= found < 1
    assert gini(np.array(counts) * factor) == pytest.approx(found, rel=1e-9, abs=1e-12)


def test_gini_by_hand() -> None:
    assert gini(np.array([3, 3, 3])) == 0.0
    assert gini(np.array([0, 0, 0, 0, 7])) == pytest.approx(0.8)  # one item of five gets everything
    assert gini(np.array([7])) == 0.0
    assert gini(np.array([1, 3])) == pytest.approx(0.25)
    assert gini(np.array([1, 3, 0, 0])) == pytest.approx(0.625)  # what is never recommended counts


def test_gini_is_not_below_zero_by_rounding() -> None:
    # summed in floats, these give -2e-17
    assert gini(np.full(10, 0.1)) == gini(np.full(10, 1 / 3)) == gini(np.full(101, 0.7)) == 0.0


def test_gini_of_large_counts() -> None:
    assert gini(np.full(1000, 2**60)) == pytest.approx(0.0, abs=1e-12)
    assert gini(np.array([0, 2**62])) == pytest.approx(0.5)


@pytest.mark.parametrize("counts", [[], [0, 0], [1, -1], [[1]], [float("nan"), 1.0]])
def test_counts_must_be_counts(counts: list[float]) -> None:
    with pytest.raises(ValueError, match=r"counts must"):
        gini(np.array(counts))
