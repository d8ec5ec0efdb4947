"""Parts that towers are made of; each works on tensors and knows no features, users or items."""

from twotower.nn.dropout import drop_to_row, drop_values
from twotower.nn.embedding import EmbeddingCollection
from twotower.nn.lookup import Lookup
from twotower.nn.mlp import MLP
from twotower.nn.native_tower import run_native_tower
from twotower.nn.pooling import pool_rows
from twotower.nn.untraced import unhooked

__all__ = [
    "MLP",
    "EmbeddingCollection",
    "Lookup",
    "drop_to_row",
    "drop_values",
    "pool_rows",
    "run_native_tower",
    "unhooked",
]
