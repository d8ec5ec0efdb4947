from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics.gains import check_k, discount_sums, harmonic_sums, mean_gain


def test_running_sums() -> None:
    assert discount_sums(3).tolist() == pytest.approx([0, 1, 1 + 1 / math.log2(3), 1.5 + 1 / math.log2(3)], rel=1e-12)
    assert harmonic_sums(3).tolist() == pytest.approx([0, 1, 1.5, 11 / 6], rel=1e-12)
    assert harmonic_sums(0).tolist() == [0.0]


@given(st.integers(0, 12), st.integers(1, 12), st.integers(1, 15))
def test_mean_gain_is_the_mean_over_positions(above: int, tied: int, k: int) -> None:
    gains = [1 / position if position <= k else 0.0 for position in range(above + 1, above + tied + 1)]
    got = mean_gain(np.array([above]), np.array([tied]), harmonic_sums(k))
    assert got.tolist() == pytest.approx([sum(gains) / tied], rel=1e-12, abs=1e-15)


def test_k_is_at_least_one() -> None:
    check_k(1)
    with pytest.raises(ValueError, match=r"k must be at least 1; came 0"):
        check_k(0)
