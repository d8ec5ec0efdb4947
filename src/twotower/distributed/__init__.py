"""Many processes that train one model: ranks, what they say to each other, and the tables that they share."""

from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.sharded_tables import ShardedTables
from twotower.distributed.shares import share_of, share_sizes
from twotower.distributed.table_exchange import TableAdagrad, TableShard
from twotower.distributed.table_plan import Placement, RowWise, TableWise, plan_tables, rows_by_rank
from twotower.distributed.whole_table import TablePart, WholeTable, stream_tables

__all__ = [
    "ALONE",
    "Placement",
    "Ranks",
    "RowWise",
    "ShardedTables",
    "TableAdagrad",
    "TablePart",
    "TableShard",
    "TableWise",
    "WholeTable",
    "plan_tables",
    "rows_by_rank",
    "share_of",
    "share_sizes",
    "stream_tables",
]
