"""Many processes that train one model: ranks, and what they say to each other."""

from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.shares import share_of, share_sizes

__all__ = ["ALONE", "Ranks", "share_of", "share_sizes"]
