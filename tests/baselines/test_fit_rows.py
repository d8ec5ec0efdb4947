"""Rows to fit on: counts with repeats, distinct items without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from twotower.baselines import FitRows

MakeWorld = Callable[..., Any]


def test_counts_and_distinct_items(make_world: MakeWorld) -> None:
    rows, matrix_UN = make_world(1)
    assert rows.counts().tolist() == [rows.item_rows.tolist().count(item) for item in range(12)]
    assert int(rows.counts().sum()) == 150 > matrix_UN.sum()
    found = rows.distinct()
    assert found.num_rows == 30
    for user in range(30):
        mine = found.values[found.offsets[user] : found.offsets[user + 1]].tolist()
        assert mine == np.flatnonzero(matrix_UN[user]).tolist()


def test_no_rows() -> None:
    empty = torch.empty(0, dtype=torch.int64)
    rows = FitRows(empty, empty, num_users=2, num_items=3)
    assert rows.counts().tolist() == [0, 0, 0]
    assert rows.distinct().offsets.tolist() == [0, 0, 0]


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"item rows must be in \[0, 2\); came 0 to 2"):
        FitRows(torch.tensor([0, 0]), torch.tensor([0, 2]), num_users=1, num_items=2)
    with pytest.raises(ValueError, match=r"user rows must be in \[0, 1\); came -1 to 0"):
        FitRows(torch.tensor([0, -1]), torch.tensor([0, 1]), num_users=1, num_items=2)
    with pytest.raises(ValueError, match=r"came \[2\] and \[1\]"):
        FitRows(torch.tensor([0, 0]), torch.tensor([0]), num_users=1, num_items=2)
