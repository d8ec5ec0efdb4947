"""The graph of a phase's rows, and the tables that are propagated over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.consecutive import taken
from twotower.errors import ConfigError
from twotower.models import Tower, TwoTower
from twotower.nn import InteractionGraph, Propagation
from twotower.runs.phase import Phase
from twotower.runs.propagation_config import propagated_features, propagated_tables
from twotower.runs.recipe import Recipe
from twotower.types import Column

__all__ = ["interaction_graph", "propagate_tables"]


def interaction_graph(phase: Phase, user: str, item: str, *, num_users: int, num_items: int) -> InteractionGraph:
    """Who did something with which item in the rows that a phase is fitted on, and in no others.

    An edge joins the rows that the user and the item have in their embedding tables: ids that share one share its edges, and
    row 0, that of the unknown ones, has none. Rows of weight 0 count, as they do in a history.

    Args:
        phase: Preprocessing and rows.
        user: Name of the encoded column of the user's id.
        item: The same of the item's.
        num_users: Rows of the user's table.
        num_items: Rows of the item's.
    """
    users, items = _rows(phase.users[user]), _rows(phase.items[item])
    return InteractionGraph.from_pairs(
        users[taken(phase.tables.user_rows, phase.fit_rows)],
        items[taken(phase.item_rows, phase.fit_rows)],
        num_queries=num_users,
        num_candidates=num_items,
    )


def propagate_tables(model: TwoTower, recipe: Recipe, phase: Phase) -> None:
    """Let a fresh model look its users and items up as they are after propagation.

    Raises:
        ConfigError: If its towers were built by other code, which propagation would not reach.
    """
    assert recipe.model.propagation is not None
    if not all(type(tower) is Tower and tower.embeddings is model.embeddings for tower in (model.query, model.candidate)):
        raise ConfigError(
            "model.propagation works on the tables that a Tower of twotower looks up; this builder gives other towers: leave "
            "it out, or propagate in them (twotower.nn.propagate)",
            source="recipe",
        )
    found, tables = propagated_features(recipe), propagated_tables(recipe)
    assert found is not None  # a recipe that propagates has both
    assert tables
    user, item = found
    num_users, num_items = (model.embeddings.specs[name].vocabulary_size for name in tables)
    graph = interaction_graph(
        phase, user.feature.output_name, item.feature.output_name, num_users=num_users, num_items=num_items
    )
    model.embeddings.propagate(Propagation(*tables, graph, recipe.model.propagation.layer_weights))


def _rows(column: Column) -> NDArray[np.int32]:
    """The row of everyone, once."""
    assert isinstance(column, Tensor)
    found: NDArray[np.int32] = column.numpy()
    return found
