"""Which rank holds which rows of an embedding table: said, or found by TorchRec's planner."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from twotower.distributed.ranks import Ranks
from twotower.distributed.torchrec_library import quiet_torchrec, torchrec_library
from twotower.errors import ConfigError
from twotower.spec import TableSpec

__all__ = ["Placement", "RowWise", "TableWise", "described_tables", "plan_tables", "rows_by_rank"]


_EXCHANGED_BYTES = 32 * 2**20  # what TorchRec counts for ids and rows on their way, beside tables


@dataclass(frozen=True, slots=True)
class RowWise:
    """A table's rows in consecutive parts of ``ceil(V / ranks)`` over all ranks; the last ones may have fewer, or none."""


@dataclass(frozen=True, slots=True)
class TableWise:
    """A whole table on one rank.

    Attributes:
        rank: Which.
    """

    rank: int


Placement: TypeAlias = RowWise | TableWise
"""Where the rows of a table are."""


def rows_by_rank(vocabulary_size: int, placement: Placement, size: int) -> list[range]:
    """The rows that each rank holds, by rank; together they are all rows, in order.

    Args:
        vocabulary_size: Rows of the table.
        placement: Where they are.
        size: How many ranks there are.

    Example:
        >>> rows_by_rank(5, RowWise(), 4)
        [range(0, 2), range(2, 4), range(4, 5), range(5, 5)]
        >>> rows_by_rank(5, TableWise(1), 2)
        [range(0, 0), range(0, 5)]
    """
    if isinstance(placement, TableWise):
        return [range(vocabulary_size if rank == placement.rank else 0) for rank in range(size)]
    part = -(-vocabulary_size // size)
    starts = [min(rank * part, vocabulary_size) for rank in range(size + 1)]
    return [range(start, end) for start, end in itertools.pairwise(starts)]


def plan_tables(
    tables: Iterable[TableSpec],
    ranks: Ranks,
    *,
    forced: Mapping[str, Placement] | None = None,
    device: torch.device | str = "cpu",
    memory_bytes: int | None = None,
) -> dict[str, Placement]:
    """Where the rows of some tables shall be. Called by all ranks; all get the plan of rank 0.

    Args:
        tables: The tables.
        ranks: Over which.
        forced: Of tables whose placement is chosen already, by name. The others are placed by TorchRec's planner, which has its
            own model of what lookups and their exchange cost.
        device: Of the tables.
        memory_bytes: What a rank has for tables that are not forced. None: little more than an equal share of them, so that no
            rank needs memory for a table that others have room for; `twotower.planning` counts so.

    Returns:
        Placements by name, in the order of the tables.

    Raises:
        ConfigError: If a table is forced that is not there, or to a rank that is not there, or the tables do not fit.
    """
    tables, given = list(tables), dict(forced or {})
    _check_forced(tables, given, ranks.size)
    free = [table for table in tables if table.name not in given]
    if free:
        room = _equal_share(free, ranks.size) if memory_bytes is None else memory_bytes
        found = ranks.tell(_planned(free, ranks.size, torch.device(device), room) if ranks.first else None)
        if found is None and memory_bytes is None:
            found = {table.name: RowWise() for table in free}  # equal shares
        if found is None:  # on all ranks alike
            raise ConfigError(
                f"{len(free)} tables of {sum(map(_bytes, free)) / 1e9:.3g} GB with their accumulators do not fit {ranks.size} "
                f"ranks of {room / 1e9:.3g} GB each: use more ranks, or smaller tables",
                source="plan of tables",
            )
        given |= found
    return {table.name: given[table.name] for table in tables}


def _check_forced(tables: Sequence[TableSpec], forced: Mapping[str, Placement], size: int) -> None:
    names = [table.name for table in tables]
    faults = [f"no table {name!r}; there are {', '.join(names)}" for name in forced if name not in names]
    faults += [
        f"table {name!r} can't be on rank {place.rank}: there are {size} ranks, from 0 on"
        for name, place in forced.items()
        if isinstance(place, TableWise) and not 0 <= place.rank < size
    ]
    if faults:
        raise ConfigError(faults, source="plan of tables")


def _bytes(table: TableSpec) -> int:
    return 4 * table.vocabulary_size * (table.embedding_dim + 1)


def _equal_share(tables: Sequence[TableSpec], size: int) -> int:
    return int(1.1 * sum(map(_bytes, tables)) / size) + _EXCHANGED_BYTES


def _planned(tables: Sequence[TableSpec], size: int, device: torch.device, memory_bytes: int) -> dict[str, Placement] | None:
    """Placements by name; None: the planner finds none that fit."""
    torchrec = torchrec_library()
    names = {f"t{number}": table for number, table in enumerate(tables)}
    widths = sorted({table.embedding_dim for table in tables})
    groups = {f"w{width}": {key: table for key, table in names.items() if table.embedding_dim == width} for width in widths}
    memory = {("hbm_cap" if device.type == "cuda" else "ddr_cap"): memory_bytes}
    with quiet_torchrec():
        planner = torchrec.EmbeddingShardingPlanner(
            topology=torchrec.Topology(world_size=size, compute_device=device.type, **memory),
            storage_reservation=torchrec.FixedPercentageStorageReservation(percentage=0.0),
            constraints={
                key: torchrec.ParameterConstraints(sharding_types=["row_wise", "table_wise"], compute_kernels=["fused"])
                for key in names
            },
        )
        # a module of modules: the planner balances tables of all widths at once
        module = nn.ModuleDict({name: described_tables(group, size) for name, group in groups.items()})
        try:
            plan = planner.plan(module, [torchrec.EmbeddingCollectionSharder()])
        except torchrec.PlannerError:
            return None
    found = [plan.get_plan_for_module(name) for name in groups]
    return {names[key].name: _placement(sharding) for of in found for key, sharding in of.items()}


def described_tables(tables: Mapping[str, TableSpec], size: int) -> Any:
    """Tables of one width as TorchRec's ``EmbeddingCollection`` without memory, each with one feature of its own name.

    Each has a multiple of ``size`` rows, of which the last are nobody's: then every rank has a part of what is sharded by rows,
    and parts are as long as they would be (FBGEMM can't have tables without any row).
    """
    torchrec = torchrec_library()
    return torchrec.EmbeddingCollection(
        tables=[
            torchrec.EmbeddingConfig(
                name=key,
                feature_names=[key],
                num_embeddings=-(-table.vocabulary_size // size) * size,
                embedding_dim=table.embedding_dim,
            )
            for key, table in tables.items()
        ],
        device=torch.device("meta"),
    )


def _placement(sharding: Any) -> Placement:
    return RowWise() if sharding.sharding_type == "row_wise" else TableWise(sharding.ranks[0])
