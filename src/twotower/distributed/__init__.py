"""Many processes that train one model: ranks, what they say to each other, and what of them is on the disk."""

from twotower.distributed.checkpoints import LAST, Checkpoints, Loaded
from twotower.distributed.ranks import ALONE, Ranks
from twotower.distributed.shares import share_of, share_sizes
from twotower.distributed.training_state import Shard, TrainingState

__all__ = [
    "ALONE",
    "LAST",
    "Checkpoints",
    "Loaded",
    "Ranks",
    "Shard",
    "TrainingState",
    "share_of",
    "share_sizes",
]
