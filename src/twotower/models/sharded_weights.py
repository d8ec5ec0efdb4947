"""All weights of a model by name, also of tables that its ranks share: what is written of it."""

from __future__ import annotations

from torch import Tensor

from twotower.distributed import ShardedTables, WholeTable
from twotower.models.state import state_of
from twotower.models.two_tower import TwoTower

__all__ = ["sharded_weights", "weights_of"]


def sharded_weights(model: TwoTower) -> dict[str, WholeTable]:
    """Tables that ranks share, by the names that their parameters have in a model of one process, in the order of these.

    They are read on rank 0, within `twotower.distributed.stream_tables`.

    Raises:
        TypeError: If tables are elsewhere, and not `ShardedTables`.
    """
    names = model.embeddings.distant_parameter_names()
    tables = model.embeddings.distant
    if not names:
        return {}
    if not isinstance(tables, ShardedTables):
        raise TypeError(f"weights of tables that are elsewhere can be read of ShardedTables; came {type(tables).__name__}")
    found = {f"embeddings.{parameter}": WholeTable(tables, name) for parameter, name in names.items()}
    return dict(sorted(found.items()))


def weights_of(model: TwoTower) -> dict[str, Tensor | WholeTable]:
    """What `state_of` gives of a model, and its sharded tables: what it would be of the same model of one process."""
    return {**state_of(model), **sharded_weights(model)}
