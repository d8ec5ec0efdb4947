"""The number of negatives against a slow count of every draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import torch

from twotower.data.batches import Batch
from twotower.runs import Recipe, load_tables
from twotower.runs.fit_model import UntrainedModel, untrained_model
from twotower.runs.negatives import count_negatives

MakeRecipe = Callable[..., Recipe]


def parts_of(recipe: Recipe, interactions: pl.DataFrame) -> UntrainedModel:
    tables = load_tables(recipe, interactions=interactions)
    return untrained_model(recipe, tables, tables.split.train)


def slowly(parts: UntrainedModel, index: int, *, accidental: bool, hard: float = math.inf) -> list[tuple[float, ...]]:
    batch = parts.batches.batch(0, index)
    assert batch.candidate_rows is not None
    assert batch.counts is not None
    items, counts = batch.candidate_rows.tolist(), [int(count) for count in batch.counts]
    masked = set() if batch.masked is None else set(zip(*(pairs.tolist() for pairs in batch.masked), strict=True))
    found = []
    for query, own in enumerate(batch.positives.tolist()):
        draws = [
            item
            for column, item in enumerate(items)
            for copy in range(counts[column])
            if (column != own or (not accidental and copy > 0)) and (query, column) not in masked
        ]
        weight = {item: float(draws.count(item)) for item in draws}
        log_q_N = parts.expected_log_q()
        if log_q_N is not None:
            weight = {item: count / math.exp(log_q_N[item]) for item, count in weight.items()}
        effective = sum(weight.values()) ** 2 / sum(w**2 for w in weight.values()) if weight else 0.0
        found.append(tuple(min(value, hard) for value in (len(draws), len(weight), effective)))
    return found


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "in_batch"},
        {"kind": "in_batch", "log_q": False},
        {"kind": "in_batch", "log_q": False, "mask_accidental_hits": False},
        {"kind": "in_batch", "mask_accidental_hits": False, "extra_negatives": 9},
        {"kind": "in_batch", "mask_known_positives": True},
        {"kind": "in_batch", "hard_negatives": 2},
        {"kind": "gbce", "extra_negatives": 5, "mask_known_positives": True},
        {"kind": "in_batch", "queue_batches": 2},
        {"kind": "bsl", "extra_negatives": 3},
        {"kind": "in_batch", "sketch": {"width": 1024}, "extra_negatives": 2},
    ],
)
def test_negatives_are_those_that_a_slow_count_finds(
    loss: dict[str, Any], make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    parts = parts_of(make_recipe(loss=loss), interactions)
    assert len(parts.batches) == 5
    accidental, hard = loss.get("mask_accidental_hits", True), loss.get("hard_negatives", math.inf)
    chosen = range(loss.get("queue_batches", 0), 4)
    rows = [row for index in chosen for row in slowly(parts, index, accidental=accidental, hard=hard)]
    found = count_negatives(parts)
    wanted = [sum(row[column] for row in rows) / len(rows) for column in range(3)]
    assert [found.drawn, found.distinct, found.effective] == pytest.approx(wanted, rel=1e-6)


def test_a_pair_that_is_masked_twice_is_missing_once(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(make_recipe(loss={"kind": "in_batch", "mask_known_positives": True}), interactions)
    once = count_negatives(parts)
    made = parts.batches.batch

    def doubled(epoch: int, index: int) -> Batch:
        batch = made(epoch, index)
        assert batch.masked is not None
        queries, columns = batch.masked
        return replace(batch, masked=(torch.cat([queries, queries]), torch.cat([columns, columns])))

    monkeypatch.setattr(parts.batches, "batch", doubled)
    assert count_negatives(parts) == once


def test_of_all_items_every_other_one_competes_with_equal_weight(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    found = count_negatives(parts_of(make_recipe(loss={"kind": "full"}), interactions))
    assert [found.drawn, found.distinct, found.effective] == pytest.approx([6, 6, 6])
