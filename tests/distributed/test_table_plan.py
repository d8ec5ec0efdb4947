"""Where TorchRec's planner puts tables, and that no rank gets much more than its share."""

from __future__ import annotations

import pytest
from tests.distributed.in_ranks import in_ranks, preload

from twotower.distributed import Placement, Ranks, RowWise, TableWise, plan_tables, rows_by_rank
from twotower.errors import ConfigError
from twotower.spec import TableSpec

preload("tests.distributed.with_torchrec")

WORLDS = {
    "one is nearly all": [(20_000_000, 64), (2_000, 64)],
    "two alike": [(120_000, 256)] * 2,
    "a large and a small one": [(20_000, 128), (450_000, 128)],
    "ten": [(100_000 * (number + 1), 64) for number in range(10)],
    "eight alike": [(500_000, 64)] * 8,
    "several widths": [(5_000_000, 64), (300_000, 32), (400_000, 128), (300_000, 64)],
    "small": [(7, 4), (3, 8), (1, 4)],
}


def tables(world: str) -> list[TableSpec]:
    return [
        TableSpec(name=f"table {number}", vocabulary_size=rows, embedding_dim=width, update="rows")
        for number, (rows, width) in enumerate(WORLDS[world])
    ]


def planned(ranks: Ranks) -> dict[str, dict[str, Placement]]:
    return {world: plan_tables(tables(world), ranks) for world in WORLDS}


@pytest.mark.parametrize("size", [2, 4])
def test_no_rank_has_much_more_of_the_tables_than_its_share(size: int) -> None:
    found = in_ranks(planned, size)
    assert found == [found[0]] * size
    for world, plan in found[0].items():
        held = [0] * size
        for table in tables(world):
            for rank, rows in enumerate(rows_by_rank(table.vocabulary_size, plan[table.name], size)):
                held[rank] += 4 * len(rows) * (table.embedding_dim + 1)
        assert max(held) <= 1.1 * sum(held) / size + 32 * 2**20, (world, plan)
    assert found[0]["one is nearly all"]["table 0"] == RowWise()
    assert {type(place) for place in found[0]["eight alike"].values()} == {TableWise}
    assert {place.rank for place in found[0]["eight alike"].values() if isinstance(place, TableWise)} == set(range(size))


def _without_room(ranks: Ranks) -> tuple[str, dict[str, Placement]]:
    with pytest.raises(ConfigError) as fault:
        plan_tables(tables("eight alike"), ranks, memory_bytes=10_000_000)
    # and what comes next is not out of step
    return str(fault.value), plan_tables(tables("two alike"), ranks, memory_bytes=10**9)


def test_tables_without_room_are_refused_on_all_ranks() -> None:
    said, plan = in_ranks(_without_room, 2)[0]
    assert "8 tables of 1.04 GB with their accumulators do not fit 2 ranks of 0.01 GB each: use more ranks" in said
    assert in_ranks(_without_room, 2) == [(said, plan)] * 2
    assert set(plan) == {"table 0", "table 1"}
