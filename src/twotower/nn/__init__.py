"""Parts that towers are made of; each works on tensors and knows no features, users or items."""

from twotower.nn.dropout import drop_to_row, drop_values
from twotower.nn.embedding import EmbeddingCollection
from twotower.nn.mlp import MLP
from twotower.nn.pooling import pool_rows

__all__ = ["MLP", "EmbeddingCollection", "drop_to_row", "drop_values", "pool_rows"]
