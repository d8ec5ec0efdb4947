"""Interactions per row."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.preprocessing.counts import row_counts


def test_none_is_one_each() -> None:
    assert row_counts(None, 2).tolist() == [1, 1]
    assert row_counts(None, 0).tolist() == []


def test_counts_are_kept() -> None:
    assert row_counts(np.array([0, 4]), 2).tolist() == [0, 4]


def test_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\); came \(2,\)"):
        row_counts(np.array([1, 2]), 3)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative; the least is -2"):
        row_counts(np.array([1, -2]), 2)
