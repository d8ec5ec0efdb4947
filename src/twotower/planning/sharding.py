"""Which tables every rank has whole, and which are split by their rows."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from twotower.errors import ConfigError, nearest
from twotower.planning.workload import Table, Workload

__all__ = ["MOST_LOCAL_BYTES", "AskedSharding", "checked_sharding", "ids_of_rank", "is_sharded", "rows_held", "tables_of"]

AskedSharding: TypeAlias = Literal["local", "row_wise", "auto"]
"""All tables whole on every rank, all split by rows, or split where a table is large."""

MOST_LOCAL_BYTES = 64 * 2**20
"""A table whose weights take no more is local with ``auto``: what it costs in memory is nothing beside a process."""


def checked_sharding(asked: str) -> AskedSharding:
    """What was asked for.

    Raises:
        ConfigError: If there is no such way.
    """
    ways = get_args(AskedSharding)
    for way in ways:
        if asked == way:
            found: AskedSharding = way
            return found
    raise ConfigError(f"--sharding {asked}: no such way{nearest(asked, ways)}")


def is_sharded(table: Table, ranks: int, asked: AskedSharding) -> bool:
    """Whether a table is split by rows; those of one rank never are."""
    if ranks == 1 or asked == "local" or table.whole:
        return False
    return asked == "row_wise" or table.weight_bytes > MOST_LOCAL_BYTES


def rows_held(table: Table, ranks: int, asked: AskedSharding) -> int:
    """Rows of a table on the rank that has the most."""
    return -(-table.rows // ranks) if is_sharded(table, ranks, asked) else table.rows


def tables_of(workload: Workload, ranks: int, asked: AskedSharding) -> list[tuple[Table, bool]]:
    """The tables as they are trained, and whether each is split."""
    split = [(table, is_sharded(table, ranks, asked)) for table in workload.tables]
    return [(table.split() if sharded else table, sharded) for table, sharded in split]


def ids_of_rank(table: Table, workload: Workload, ranks: int) -> float:
    """Ids that a rank looks up in a table in a step, for its share of the queries and of the candidates."""
    return (table.query_ids * workload.batch_size + table.candidate_ids * workload.competing) / ranks
