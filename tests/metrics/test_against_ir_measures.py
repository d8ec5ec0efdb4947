"""Accuracy metrics against ir-measures, which asks trec_eval; without ties, which trec_eval decides by the item's name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.metrics import Ranks, Unit, metric_rows

KS = [1, 3, 5, 20]

Judged = tuple[int, list[int]]
"""How many items a user's list has, and the places of the relevant ones, from 1; places behind it are not in the catalogue."""

NUM_ITEMS = 8


@st.composite
def judged(draw: st.DrawFn) -> Judged:
    """A list of the whole catalogue, and relevant items on it and off it."""
    places = draw(st.sets(st.integers(1, NUM_ITEMS + 3), min_size=1))
    return NUM_ITEMS, sorted(places)


def theirs(users: Sequence[Judged], *, one_each: bool) -> list[dict[str, float]]:
    """Their figures of every user, or of every relevant item as the only one of its own query."""
    queries = [(size, [place]) for size, places in users for place in places] if one_each else list(users)
    relevance = {str(number): {f"d{place}": 1 for place in places} for number, (_, places) in enumerate(queries)}
    runs = {
        str(number): {f"d{place}": float(-place) for place in range(1, size + 1)} for number, (size, _) in enumerate(queries)
    }
    measures: dict[Any, str] = {ir_measures.RR: "mrr"}
    for k in KS:
        measures |= {
            ir_measures.R @ k: f"recall@{k}",
            ir_measures.P @ k: f"precision@{k}",
            ir_measures.Success @ k: f"hit_rate@{k}",
            ir_measures.nDCG @ k: f"ndcg@{k}",
            ir_measures.AP @ k: f"map@{k}",
            ir_measures.RR @ k: f"mrr@{k}",
        }
    found: list[dict[str, float]] = [{} for _ in queries]
    for metric in ir_measures.iter_calc(list(measures), relevance, runs):
        found[int(metric.query_id)][measures[metric.measure]] = metric.value
    for (_, places), figures in zip(queries, found, strict=True):
        for k in KS:  # trec_eval divides by all relevant items, also by those that no list of k can hold
            figures[f"map@{k}"] *= len(places) / min(k, len(places), NUM_ITEMS)
            # trec_eval's ideal list is as long as k, ours no longer than the catalogue
            figures[f"ndcg@{k}"] *= ideal(min(k, len(places))) / ideal(min(k, len(places), NUM_ITEMS))
    return found


def ideal(length: int) -> float:
    return sum(1 / math.log2(place + 1) for place in range(1, length + 1))


@given(st.lists(judged(), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("unit", ["interaction", "user"])
def test_every_metric_is_theirs(unit: Unit, users: list[Judged], shuffle: Any) -> None:
    rows = [(place, number) for number, (_, places) in enumerate(users) for place in places]
    if unit == "user":
        shuffle.shuffle(rows)
    ranks = Ranks(np.array([min(place - 1, NUM_ITEMS) for place, _ in rows]), np.ones(len(rows), dtype=np.int64))
    ours = metric_rows(ranks, KS, np.array([number for _, number in rows]), unit=unit, catalogue_size=NUM_ITEMS)
    expected = theirs(users, one_each=unit == "interaction")
    assert len(ours.values) == len(expected)
    for values, figures in zip(ours.values.tolist(), expected, strict=True):
        assert dict(zip(ours.names, values, strict=True)) == pytest.approx(figures, rel=1e-6, abs=1e-9)


def test_their_map_is_ours_by_all_relevant_items() -> None:
    # five relevant items in the first five places, looked at to 2: ours 1, theirs 2 / 5
    relevance = {"0": {f"d{place}": 1 for place in range(5)}}
    runs = {"0": {f"d{place}": float(-place) for place in range(5)}}
    assert ir_measures.calc_aggregate([ir_measures.AP @ 2], relevance, runs)[ir_measures.AP @ 2] == pytest.approx(0.4)
    ranks = Ranks(np.arange(5), np.ones(5, dtype=np.int64))
    assert metric_rows(ranks, [2], np.zeros(5, dtype=np.int64), unit="user").means()["map@2"] == pytest.approx(1.0)
