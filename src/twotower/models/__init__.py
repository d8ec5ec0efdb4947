"""Two-tower models: specs in, modules out."""

from twotower.models.build import ModelBuilder, build, builder_name, check_columns
from twotower.models.heads import Head, OrdinalHead, RegressionHead, build_head
from twotower.models.item_rows import rows_read, with_places
from twotower.models.sharded_weights import sharded_weights, weights_of
from twotower.models.state import load_state, state_of
from twotower.models.tower import Tower
from twotower.models.two_tower import TwoTower

__all__ = [
    "Head",
    "ModelBuilder",
    "OrdinalHead",
    "RegressionHead",
    "Tower",
    "TwoTower",
    "build",
    "build_head",
    "builder_name",
    "check_columns",
    "load_state",
    "rows_read",
    "sharded_weights",
    "state_of",
    "weights_of",
    "with_places",
]
