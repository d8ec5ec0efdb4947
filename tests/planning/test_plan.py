"""Plans that fit, plans that are refused, and what would fit."""

from __future__ import annotations

import math

import pytest
from tests.planning.worlds import device, workload

from twotower.errors import ConfigError
from twotower.planning import Table, faults_of, fewest_ranks, make_plan, require_fit, scaling_curve, widest

LARGE = workload(tables=(Table("users", 100_000, 64, query_ids=1),), rows=0)


def test_an_epoch_is_its_steps() -> None:
    plan = make_plan(workload(rows=101), device(), 1, "auto")
    assert plan.steps_per_epoch == 13
    assert plan.epoch_s(overlapped=False) == pytest.approx(13 * plan.step.seconds)
    assert plan.epoch_s(overlapped=True) == pytest.approx(13 * plan.step.overlapped_s)


def test_small_tables_stay_whole_unless_all_are_split() -> None:
    large = Table("users", 2**20, 17, query_ids=1)
    small = Table("items", 2**20, 16, candidate_ids=1)  # 64 MiB and no more
    both = workload(tables=(large, small))
    assert make_plan(both, device(), 2, "auto").split_tables == ("users",)
    assert make_plan(both, device(), 2, "row_wise").split_tables == ("users", "items")
    assert make_plan(both, device(), 2, "local").split_tables == ()
    assert make_plan(both, device(), 1, "row_wise").split_tables == ()


@pytest.mark.parametrize("room", [2e6, 8e6, 30e6, 60e6, 78e6, 1e9])
def test_the_fewest_ranks_are_those_that_counting_finds(room: float) -> None:
    small = device(host_memory_bytes=room, memory_bytes=room)
    counted = next((ranks for ranks in range(1, 200) if not faults_of(make_plan(LARGE, small, ranks, "row_wise"))), None)
    assert fewest_ranks(LARGE, small, "row_wise") == counted


@pytest.mark.parametrize("room", [1e6, 10e6, 30e6, 76e6])
def test_the_widest_tables_are_those_that_counting_finds(room: float) -> None:
    small = device(host_memory_bytes=room, memory_bytes=room)
    fitting = []
    for width in range(1, 64):
        narrow = workload(tables=(Table("users", 100_000, width, query_ids=1),), rows=0)
        if not faults_of(make_plan(narrow, small, 1, "auto")):
            fitting.append(width)
    found = widest(make_plan(LARGE, small, 1, "auto"))
    assert found is None if not fitting else found is not None and abs(found - max(fitting)) <= 1


def test_what_fits_is_not_refused() -> None:
    require_fit(make_plan(LARGE, device(), 1, "auto"))


def test_no_room_names_ranks_and_width() -> None:
    small = device(host_memory_bytes=30e6, memory_bytes=30e6)
    with pytest.raises(
        ConfigError, match=r"no plan for 1 rank: a rank needs .* has 0.030 GB of the machine's memory"
    ) as caught:
        require_fit(make_plan(LARGE, small, 1, "row_wise"))
    message = str(caught.value)
    ranks = fewest_ranks(LARGE, small, "row_wise")
    assert f"--ranks {ranks}" in message
    assert "tables of at most" in message


def test_no_room_for_local_tables_names_split_ones() -> None:
    small = device(host_memory_bytes=30e6, memory_bytes=30e6)
    with pytest.raises(ConfigError, match=r"tables split by rows \(--sharding row_wise\)"):
        require_fit(make_plan(LARGE, small, 8, "local"))


def test_no_room_for_the_process_itself() -> None:
    with pytest.raises(ConfigError, match="nothing of it fits, not even the process"):
        require_fit(make_plan(LARGE, device(host_memory_bytes=500.0), 2, "auto"))


def test_a_log_that_is_too_long_for_every_rank() -> None:
    # 15 bytes a row, all the time, and 2 for the bundle, beside what users take then
    small = device(host_memory_bytes=100_000.0, memory_bytes=100_000.0)
    counted = [rows for rows in range(4000, 8000) if not faults_of(make_plan(workload(rows=rows), small, 1, "auto"))]
    assert 4000 < max(counted) < 7999
    with pytest.raises(ConfigError, match=f"at most {max(counted):,} rows: examples and histories are on every rank"):
        require_fit(make_plan(workload(rows=10**6), small, 1, "auto"))


def test_both_memories_are_looked_at() -> None:
    apart = device(is_host=False, host_memory_bytes=900.0, memory_bytes=900.0)
    faults = faults_of(make_plan(LARGE, apart, 1, "auto"))
    assert len(faults) == 2
    assert "of the device (toy)" in faults[0]
    assert "machine's memory" in faults[1]


@pytest.mark.parametrize("ranks", [0, -1, 2**16 + 1])
def test_numbers_of_ranks_that_are_none(ranks: int) -> None:
    with pytest.raises(ConfigError, match=f"--ranks {ranks}: must be from 1 to 65,536"):
        make_plan(workload(), device(), ranks, "auto")


def test_strong_and_weak_scaling() -> None:
    strong = scaling_curve(workload(), device(), (1, 2, 4), scaling="strong", sharding="row_wise")
    weak = scaling_curve(workload(), device(), (1, 2, 4), scaling="weak", sharding="row_wise")
    assert [point.plan.workload.batch_size for point in strong] == [8, 8, 8]
    assert [point.plan.workload.batch_size for point in weak] == [8, 16, 32]
    assert strong[0].efficiency == weak[0].efficiency == 1
    assert strong[2].efficiency == pytest.approx(strong[2].plan.step.rows_per_s / 4 / strong[0].plan.step.rows_per_s)
    assert all(point.fits for point in strong)
    assert not any(math.isnan(point.efficiency) for point in weak)
