"""Many processes that train one model: ranks, and what they say to each other."""

from twotower.distributed.agreed import agreed, require_same
from twotower.distributed.exchange import columns_of_all, exchange, fetch_rows, spread_
from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.shares import share_of, share_sizes

__all__ = [
    "ALONE",
    "Ranks",
    "agreed",
    "columns_of_all",
    "exchange",
    "fetch_rows",
    "require_same",
    "share_of",
    "share_sizes",
    "spread_",
]
