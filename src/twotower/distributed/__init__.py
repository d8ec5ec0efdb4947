"""Many processes that train one model: ranks, and what they say to each other."""

from twotower.distributed.launch import Launch, launch, opened_ranks
from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.shares import share_of, share_sizes

__all__ = ["ALONE", "Launch", "Ranks", "launch", "opened_ranks", "share_of", "share_sizes"]
