"""What a rank holds, added up by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.planning.worlds import device, workload

from twotower.planning import Memory, Table, Tower, distinct, memory_of


def _bytes(memory: Memory) -> dict[str, Any]:
    return {part.what: part.bytes for part in memory.parts}


def test_one_rank_holds_everything() -> None:
    held = _bytes(memory_of(workload(), device(), 1, "auto"))
    assert held["process"] == 1000
    assert "process group" not in held
    assert "runtime of the device" not in held
    assert (held["table users"], held["optimiser of users"]) == (10 * 3 * 4, 10 * 4)
    assert (held["table items"], held["optimiser of items"]) == (4 * 2 * 4, 4 * 4)
    # matrices of 3 x 2 and 2 x 2 with their biases: 14 numbers; weights, gradients and one state
    assert held["towers"] == 14 * 4 * 3
    assert held["examples"] == 300
    assert held["histories"] == 200
    assert held["histories of judged rows"] == 600
    assert (held["users"], held["items"]) == (70, 44)


def test_a_step_of_one_rank() -> None:
    held = _bytes(memory_of(workload(), device(), 1, "auto"))
    assert held["batch"] == 48
    # 8 ids of users, 4 of items: vector and gradient, three whole numbers of 8 bytes for each
    assert held["looked up"] == 8 * (2 * 12 + 24) + 4 * (2 * 8 + 24)
    assert "on their way" not in held
    # 3 and 2 numbers in, 2 out; twice, 4 bytes each
    assert held["inside the towers"] == 4 * (8 * 10 + 4 * 8)
    assert held["candidates of all ranks"] == 4 * 2 * 4
    # logits of 4 queries; candidates once packed, once as a gradient
    assert held["tiles of the loss"] == 4 * 4 * 4 + 2 * 32
    users, items = 10 * (1 - 0.9**8), 4 * (1 - 0.75**4)
    assert held["gradients of tables"] == pytest.approx(2 * users * (12 + 8) + 2 * items * (8 + 8))


def test_tables_split_by_rows() -> None:
    held = _bytes(memory_of(workload(), device(), 4, "row_wise"))
    assert (held["table users"], held["optimiser of users"]) == (pytest.approx(3 * 12), pytest.approx(3 * 4))  # 3, 3, 3, 1
    assert held["table items"] == pytest.approx(1 * 8)
    assert (held["process group"], held["library of split tables"]) == (50, 8)
    assert held["on their way"] == pytest.approx(2 * 2 * 12 + 1 * 2 * 8)
    assert "gradients of tables" not in held
    assert held["candidates of all ranks"] == 4 * 2 * 4 * 4
    assert held["batch"] == 48  # of all ranks
    assert held["examples"] == 300
    assert held["copies for a checkpoint"] == pytest.approx(36 + 12 + 8 + 4 + 14 * 4 * 2)
    assert held["vectors of items"] == 1 * 2 * 4
    assert held["vectors of the bundle"] == 3 * 32
    assert "copies for the bundle" not in held


def test_local_tables_of_several_ranks_bring_gradients_together() -> None:
    held = _bytes(memory_of(workload(), device(), 2, "local"))
    assert held["table users"] == 120
    assert "library of split tables" not in held
    users, items = 10 * (1 - 0.9**4), 4 * (1 - 0.75**2)
    all_users, all_items = 10 * (1 - 0.9**8), 4 * (1 - 0.75**4)
    expected = (3 * users + all_users) * 20 + (3 * items + all_items) * 16
    assert held["gradients of tables"] == pytest.approx(expected)
    # the first rank writes as one process does: whole tables, and the vectors of all items
    weights = 120 + 32 + 14 * 4
    assert held["copies for a checkpoint"] == 2 * (weights + 40 + 16 + 14 * 4)
    assert (held["copies for the bundle"], held["vectors of the bundle"]) == (2 * weights, 3 * 32)


def test_a_dense_table_has_a_gradient_as_large_as_itself() -> None:
    table = Table("users", 10, 3, query_ids=1, by_rows=False, state_per_number=2, state_per_row=0)
    held = _bytes(memory_of(workload(tables=(table,)), device(), 1, "local"))
    assert (held["gradients of tables"], held["optimiser of users"]) == (120, 240)
    # split, it is trained by row-wise Adagrad: a number for a row
    assert _bytes(memory_of(workload(tables=(table,)), device(), 2, "row_wise"))["optimiser of users"] == 5 * 4


def test_the_peak_is_at_the_moment_that_takes_the_most() -> None:
    memory = memory_of(workload(), device(), 1, "auto")
    moments = memory.moments(host=True)
    weights = 120 + 32 + 14 * 4
    assert moments["checkpoint"] == 2 * (weights + 40 + 16 + 14 * 4)
    assert moments["bundle"] == 3 * 32 + 2 * weights + 200 + 160 * (10 + 4)
    assert moments["evaluation"] == 32 + 3 * 8 * 2 * 3
    # what a step took stays with the process
    assert memory.peak(host=True) == pytest.approx(memory.always(host=True) + moments["step"] + moments["bundle"])
    assert memory.peak_moment(host=True) == "bundle"
    checkpoint = memory.always(host=True) + moments["step"] + moments["checkpoint"]
    assert memory.peak(host=True, writes=False) == pytest.approx(checkpoint)  # of a rank that writes no bundle
    assert memory.always(host=True) == 1000 + 120 + 40 + 32 + 16 + 14 * 12 + 300 + 200 + 600 + 70 + 44


def test_an_accelerator_has_a_memory_of_its_own() -> None:
    memory = memory_of(workload(), device(is_host=False, context_bytes=5.0), 1, "auto")
    assert memory.always(host=False) == 5 + 120 + 40 + 32 + 16 + 14 * 12 + 44
    assert memory.always(host=True) == 1000 + 300 + 200 + 600 + 70 + 44
    assert memory.peak(host=False) == memory.always(host=False) + max(memory.moments(host=False).values())
    assert set(memory.moments(host=True)) == {"step", "checkpoint", "bundle"}


def test_encoders_keep_what_they_read() -> None:
    from twotower.planning import Encoder

    tower = Tower(3, (2,), encoders=(Encoder(width=3, length=10, span=5, weights=9, kept=30),))
    assert tower.weights == 8 + 9
    assert tower.kept == 2 * 5 + 2 * 10 * 30
    assert tower.products == 12 + 10 * (2 * 9 + 4 * 5 * 3)
    assert Tower(3, (4, 2), normed=True).weights == 16 + 10 + 8


@pytest.mark.parametrize(("draws", "of", "expected"), [(2, 3, 15 / 9), (3, 2, 14 / 8), (1, 7, 1), (0, 7, 0), (5, 1, 1)])
def test_distinct_ones_counted_over_all_draws(draws: int, of: int, expected: float) -> None:
    assert distinct(draws, of) == pytest.approx(expected)


def test_distinct_ones_of_many_keep_their_digits() -> None:
    assert distinct(1000, 10**12) == pytest.approx(1000, rel=1e-6)


@pytest.mark.parametrize("asked", ["local", "row_wise", "auto"])
def test_more_of_anything_never_needs_less(asked: str) -> None:
    start = workload(items=1000, candidates="in_batch", tables=(Table("users", 10**6, 64, query_ids=3),))

    def peak(work: object, ranks: int = 4) -> float:
        return memory_of(work, device(), ranks, asked).peak(host=True)  # type: ignore[arg-type]

    for name in ("rows", "users", "items", "batch_size", "vector_width"):
        assert peak(replace(start, **{name: 3 * getattr(start, name)})) > peak(start), name
    wider = replace(start, tables=(replace(start.tables[0], width=128),))
    assert peak(wider) > peak(start)
    if asked != "local":
        found = [peak(start, ranks) for ranks in (2, 4, 8, 16, 32)]
        assert found == sorted(found, reverse=True)
