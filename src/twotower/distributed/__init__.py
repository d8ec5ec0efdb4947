"""Many processes that train one model: ranks, what they say to each other, and what of them is on the disk."""

from twotower.distributed.agreed import agreed, require_same
from twotower.distributed.checkpoints import LAST, Checkpoints, Loaded
from twotower.distributed.exchange import columns_of_all, exchange, fetch_rows, spread_
from twotower.distributed.launch import Launch, launch, opened_ranks
from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.shares import share_of, share_sizes
from twotower.distributed.training_state import Shard, TrainingState

__all__ = [
    "ALONE",
    "LAST",
    "Checkpoints",
    "Launch",
    "Loaded",
    "Ranks",
    "Shard",
    "TrainingState",
    "agreed",
    "columns_of_all",
    "exchange",
    "fetch_rows",
    "launch",
    "opened_ranks",
    "require_same",
    "share_of",
    "share_sizes",
    "spread_",
]
