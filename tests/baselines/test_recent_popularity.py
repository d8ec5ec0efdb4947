"""Counts that fade: against a sum written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from twotower.baselines import FitRows, recent_counts

MakeWorld = Callable[..., Any]


@pytest.mark.parametrize("half_life", [0.5, 3, 40.0])
def test_the_sum_written_out(make_world: MakeWorld, half_life: float) -> None:
    rows = make_world(10).rows
    items = rows.item_rows.tolist()
    expected = [sum(0.5 ** ((149 - place) / half_life) for place, i in enumerate(items) if i == item) for item in range(12)]
    assert recent_counts(rows, half_life=half_life).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_long_half_life_is_popularity_and_a_short_one_the_last_row(make_world: MakeWorld) -> None:
    rows = make_world(11).rows
    assert recent_counts(rows, half_life=1e12).tolist() == pytest.approx(rows.counts().tolist())
    assert int(recent_counts(rows, half_life=0.01).argmax()) == rows.item_rows[-1]


def test_an_item_without_rows_and_no_rows() -> None:
    rows = FitRows(torch.tensor([0]), torch.tensor([1]), num_users=1, num_items=3)
    assert recent_counts(rows, half_life=5).tolist() == [0.0, 1.0, 0.0]
    empty = torch.empty(0, dtype=torch.int64)
    assert recent_counts(FitRows(empty, empty, num_users=1, num_items=2), half_life=5).tolist() == [0.0, 0.0]


def test_a_half_life_of_nothing(make_world: MakeWorld) -> None:
    with pytest.raises(ValueError, match="half_life must be above 0; came 0"):
        recent_counts(make_world(0).rows, half_life=0)
