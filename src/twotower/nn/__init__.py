"""Parts that towers are made of; each works on tensors and knows no features, users or items."""

from twotower.nn.distant_rows import DistantTables
from twotower.nn.dropout import drop_to_row, drop_values
from twotower.nn.embedding import EmbeddingCollection
from twotower.nn.hstu import HSTUEncoder
from twotower.nn.interaction_graph import InteractionGraph
from twotower.nn.lookup import Lookup
from twotower.nn.mlp import MLP
from twotower.nn.native_tower import run_native_tower
from twotower.nn.pooling import look_up_rows, pool_rows
from twotower.nn.propagation import Propagation, layer_weights, propagate
from twotower.nn.sequence_encoder import SequenceEncoder
from twotower.nn.sequence_encoders import AttentionEncoder, GRUEncoder, TransformerEncoder, build_encoder
from twotower.nn.untraced import unhooked

__all__ = [
    "MLP",
    "AttentionEncoder",
    "DistantTables",
    "EmbeddingCollection",
    "GRUEncoder",
    "HSTUEncoder",
    "InteractionGraph",
    "Lookup",
    "Propagation",
    "SequenceEncoder",
    "TransformerEncoder",
    "build_encoder",
    "drop_to_row",
    "drop_values",
    "layer_weights",
    "look_up_rows",
    "pool_rows",
    "propagate",
    "run_native_tower",
    "unhooked",
]
