"""Batches that are made on a device have what those have that are made here."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from emulated_device import DEVICE, emulated
from torch import Tensor

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.types import Coded, Computed, Ragged

USERS, ITEMS, ROWS = 30, 40, 300


def _examples(*inputs: HistoryInput, weights: bool = False, times: bool = False) -> Examples:
    random = np.random.default_rng(1)
    users, items = random.integers(USERS, size=ROWS), random.integers(ITEMS, size=ROWS)
    at = np.sort(random.integers(10**9, size=ROWS))
    liked = random.integers(5, size=ROWS).astype(np.int32)
    histories, before = build_histories(users, items, None, num_users=USERS, times=at, columns={"liked": liked})
    lengths = torch.from_numpy(random.integers(4, size=7))
    genres = Ragged(torch.arange(int(lengths.sum())), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))
    ages = torch.from_numpy(random.normal(size=USERS).astype(np.float32))
    return Examples(
        user_rows=torch.from_numpy(users),
        item_rows=torch.from_numpy(items),
        users={
            "user": torch.arange(USERS),
            "age": Computed(USERS, lambda rows: ages[rows, None] * 2),
            "likes": Computed(USERS, lambda rows: genres.take(rows % 7)),
        },
        context={"kind": Coded(torch.from_numpy(random.integers(7, size=ROWS).astype(np.uint8)), genres)},
        histories=histories,
        before=before,
        seen_before=True,
        history_inputs=inputs,
        weights=torch.from_numpy(random.random(ROWS).astype(np.float32)) if weights else None,
        outcomes={"rating": torch.from_numpy(random.normal(size=ROWS))},
        times=torch.from_numpy(at) if times else None,
    )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every tensor in what a batch is made of, on the CPU, by where it is."""
    if isinstance(value, Tensor):
        return {name: value.cpu()}
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "_asdict"):
        parts = value._asdict()
    elif isinstance(value, dict):
        parts = value
    elif isinstance(value, tuple):
        parts = {str(place): part for place, part in enumerate(value)}
    else:
        return {name: value}
    return {key: found for part, each in parts.items() for key, found in _flat(each, f"{name}.{part}").items()}


HISTORY = HistoryInput("history", torch.arange(ITEMS, dtype=torch.int32) + 1)
OTHERS = HistoryInput("others", None, max_length=5, mode="others", own_item="allow")
ORDERED = HistoryInput(
    "ordered", None, 8, own_item="allow", in_order=True, times=True, request_time=True, columns={"liked": "liked"}
)


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        ((), {}),
        ((HISTORY, OTHERS), {}),
        ((HISTORY, OTHERS), {"most_in_memory": 1}),
        ((ORDERED,), {}),
        ((HistoryInput("plain", None, 8, own_item="allow", in_order=True),), {}),
        ((), {"extra_negatives": 9}),
        ((), {"queue_batches": 3}),
        ((), {"candidates": "uniform", "extra_negatives": 20}),
        ((), {"candidates": "catalogue"}),
        ((HISTORY,), {"mask_known_positives": True, "users": True}),
        ((), {"candidates": "catalogue", "mask_known_positives": True}),
        ((), {"share": lambda size: range(size // 3, size // 2)}),
    ],
    ids=str,
)
def test_a_batch_there_is_the_batch_here(inputs: tuple[HistoryInput, ...], options: dict[str, Any]) -> None:
    examples = _examples(*inputs, weights=True, times=ORDERED in inputs)
    given = {"candidates": "in_batch", "batch_size": 64, "catalogue_size": ITEMS, "seed": 5, **options}
    here = Batches(examples, **given)
    with emulated():
        there = here.on(DEVICE)
        assert len(there) == len(here)
        for epoch in (0, 1):
            for index in range(len(here)):
                expected, batch = _flat(here.batch(epoch, index)), there.batch(epoch, index)
                assert batch.positives.device == DEVICE
                found = _flat(batch)
                assert found.keys() == expected.keys()
                for name, values in expected.items():
                    if isinstance(values, Tensor):
                        assert torch.equal(found[name], values), name
                    else:
                        assert found[name] == pytest.approx(values), name


def test_what_goes_to_a_device_is_as_large_as_it_says() -> None:
    examples = _examples(HISTORY, ORDERED, weights=True, times=True)
    with emulated():
        held = _flat(examples.to(DEVICE))
    held = {name: values for name, values in held.items() if isinstance(values, Tensor)}
    # the lists of "likes" are estimated by the first of them, which here are all
    assert examples.num_bytes() == sum(values.numel() * values.element_size() for values in held.values())


def test_many_rows_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.data.examples._AT_ONCE", 7)
    examples = _examples()
    with emulated():
        held = examples.to(DEVICE)
        rows = torch.arange(ROWS, device=DEVICE)
        found, expected = _flat(held.take(rows)), _flat(examples.take(torch.arange(ROWS)))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], values) for name, values in expected.items() if isinstance(values, Tensor))


def test_columns_of_no_rows_go_there_too() -> None:
    empty = Computed(0, lambda rows: torch.zeros(len(rows), 3))
    ragged = Computed(0, lambda rows: Ragged(rows, torch.zeros(len(rows) + 1, dtype=torch.int64)))
    histories, before = build_histories(np.empty(0, np.int64), np.empty(0, np.int64), None, num_users=0)
    nobody = torch.empty(0, dtype=torch.int64)
    examples = Examples(nobody, nobody, {"a": empty, "b": ragged}, {}, histories, before, seen_before=True)
    assert examples.num_bytes() == 8  # the offsets of the histories
    with emulated():
        held = examples.to(DEVICE)
    assert isinstance(held.users["a"], Tensor)
    assert held.users["a"].shape == (0, 3)
    assert isinstance(held.users["b"], Ragged)
    assert held.users["b"].num_rows == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"extra_negatives": 9},
        {"queue_batches": 3},
        {"candidates": "uniform", "extra_negatives": 20},
        {"candidates": "catalogue"},
        {"users": True},
    ],
    ids=str,
)
def test_a_batch_of_fixed_shape_has_the_candidates_of_the_batch_and_fills_up(options: dict[str, Any]) -> None:
    given = {"candidates": "in_batch", "batch_size": 64, "catalogue_size": ITEMS, "seed": 5, **options}
    batches = Batches(_examples(HISTORY, OTHERS, weights=True), **given)
    for index in (0, 1, 4):
        expected = batches.batch(1, index)
        with emulated() as emulation:
            there = batches.on(DEVICE)
            rows, beside = there.rows(1, index).to(DEVICE), there.beside(1, index)
            there.fixed(rows, beside)  # which waits to be told how long lists are
            waits, found = emulation.waits.copy(), there.fixed(rows, beside)
            assert emulation.waits == waits
            filled = _flat(found)
            real = 0 if expected.candidate_rows is None else len(expected.candidate_rows)
            if found.counts is not None and found.candidate_rows is not None:
                counts, candidates = found.counts.cpu(), found.candidate_rows.cpu()
                assert len(counts) == len(rows) + len(beside)
                assert not counts[real:].any()
                assert set(candidates[real:].tolist()) <= set(candidates[:real].tolist())
        assert filled.keys() == _flat(expected).keys()
        for name, values in _flat(expected).items():
            if isinstance(values, Tensor):
                # what fills comes behind
                part = filled[name][: len(values)] if name.endswith((".counts", ".candidate_rows", ".values")) else filled[name]
                assert torch.equal(part, values), name


@pytest.mark.parametrize("options", [{"mask_known_positives": True}, {"share": range}, {}], ids=str)
def test_what_has_no_fixed_shape_is_refused(options: dict[str, Any]) -> None:
    examples = _examples() if options else _examples(ORDERED, times=True)
    batches = Batches(examples, batch_size=64, catalogue_size=ITEMS, seed=5, candidates="in_batch", **options)
    with pytest.raises(ValueError, match="no fixed shape"):
        batches.fixed(torch.arange(5), torch.empty(0, dtype=torch.int64))
