"""Many processes that train one model: ranks, and what they say to each other."""

from twotower.distributed.agreed import agreed, require_same
from twotower.distributed.exchange import columns_of_all, exchange, fetch_rows, spread_
from twotower.distributed.launch import Launch, launch, opened_ranks
from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.shares import share_of, share_sizes

__all__ = [
    "ALONE",
    "Launch",
    "Ranks",
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
