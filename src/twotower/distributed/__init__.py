"""Many processes that train one model: ranks, what they say to each other, the tables that they share, their checkpoints."""

from twotower.distributed.agreed import agreed, require_same
from twotower.distributed.checkpoint_contents import Loaded, Stored
from twotower.distributed.checkpoints import LAST, Checkpoints
from twotower.distributed.exchange import columns_of_all, exchange, fetch_rows, spread_
from twotower.distributed.launch import (
    INTERRUPTED,
    LOST,
    TOLD,
    Launch,
    end_with_launcher,
    launch,
    launched_here,
    opened_ranks,
    process_name,
)
from twotower.distributed.ranks import ALONE, Ranks, speaking
from twotower.distributed.read_checkpoint import read_checkpoint
from twotower.distributed.sharded_tables import ShardedTables
from twotower.distributed.shares import share_of, share_sizes
from twotower.distributed.table_exchange import TableAdagrad, TableShard
from twotower.distributed.table_plan import Placement, RowWise, TableWise, plan_tables, rows_by_rank
from twotower.distributed.training_state import Shard, TrainingState
from twotower.distributed.whole_table import TablePart, WholeTable, stream_tables

__all__ = [
    "ALONE",
    "INTERRUPTED",
    "LAST",
    "LOST",
    "TOLD",
    "Checkpoints",
    "Launch",
    "Loaded",
    "Placement",
    "Ranks",
    "RowWise",
    "Shard",
    "ShardedTables",
    "Stored",
    "TableAdagrad",
    "TablePart",
    "TableShard",
    "TableWise",
    "TrainingState",
    "WholeTable",
    "agreed",
    "columns_of_all",
    "end_with_launcher",
    "exchange",
    "fetch_rows",
    "launch",
    "launched_here",
    "opened_ranks",
    "plan_tables",
    "process_name",
    "read_checkpoint",
    "require_same",
    "rows_by_rank",
    "share_of",
    "share_sizes",
    "speaking",
    "spread_",
    "stream_tables",
]
