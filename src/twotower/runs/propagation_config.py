"""What a recipe says of propagation over the graph of interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from twotower.config import Config
from twotower.nn import layer_weights
from twotower.preprocessing import IdFeature

if TYPE_CHECKING:  # a recipe holds what is here
    from twotower.runs.feature_entry import FeatureEntry
    from twotower.runs.recipe import Recipe

__all__ = ["PropagationConfig", "propagated_features", "propagated_tables", "propagation_faults"]


class PropagationConfig(Config):
    """Light propagation of id embeddings over the graph of who chose what in the train rows (LightGCN, He et al. 2020).

    ``E^(k+1) = D^-1/2 A D^-1/2 E^(k)``, where ``E`` is the table of the user's id above that of the item's; what is looked up
    is a weighted sum of the layers ``E^(0)`` to ``E^(layers)``. Every feature that shares one of the two tables reads
    propagated rows. Unknown users and items have no edges, and so nothing beyond layer 0.

    Attributes:
        layers: K, how far: 1 reaches a user's items, 2 the users who share one, and so on. Each costs two products of edges
            times width at every step. 0 is none.
        weights: Of layers 0 to K, the first above 0. None: their mean.
    """

    layers: int = Field(default=2, ge=0)
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _a_weight_for_each(self) -> PropagationConfig:
        if self.weights is not None and len(self.weights) != self.layers + 1:
            raise ValueError(
                f"weights: {self.layers} layers have {self.layers + 1} vectors, the one before the first among them; came "
                f"{len(self.weights)} weights"
            )
        if self.weights is not None and not self.weights[0] > 0:
            raise ValueError("weights: the first must be above 0: it is all that an unknown user or item has")
        return self

    @property
    def layer_weights(self) -> tuple[float, ...]:
        """Of layers 0 to ``layers``."""
        return layer_weights(self.layers) if self.weights is None else self.weights


def propagated_features(recipe: Recipe) -> tuple[FeatureEntry, FeatureEntry] | None:
    """The features of the user's id and of the item's, where each tower has one: these are what is propagated."""
    columns = recipe.data.columns
    users, items = (
        [entry for entry in tower.features if isinstance(entry.feature, IdFeature) and entry.feature.column == column]
        for tower, column in ((recipe.query, columns.user), (recipe.candidate, columns.item))
    )
    return (users[0], items[0]) if len(users) == len(items) == 1 else None


def propagated_tables(recipe: Recipe) -> tuple[str, str] | tuple[()]:
    """Names of the user's and the item's table; none where nothing is propagated."""
    if recipe.model.propagation is None:
        return ()
    found = propagated_features(recipe)
    assert found is not None  # a recipe that propagates has both
    user, item = found
    return (
        user.embedding.table or f"query/{user.feature.output_name}",
        item.embedding.table or f"candidate/{item.feature.output_name}",
    )


def propagation_faults(recipe: Recipe) -> list[str]:
    """What a recipe that propagates says otherwise."""
    if recipe.model.propagation is None:
        return []
    columns, found = recipe.data.columns, propagated_features(recipe)
    if found is None:
        return [
            "model.propagation joins the users and the items of the train rows: query.features needs one feature "
            f"{{ kind = 'id', column = {columns.user!r} }}, and candidate.features one {{ kind = 'id', column = "
            f"{columns.item!r} }}"
        ]
    (user, item), faults = found, []
    if user.embedding.dim != item.embedding.dim:
        faults.append(
            "model.propagation adds up rows of users and of items: their embedding.dim must be equal; came "
            f"{user.embedding.dim} of {user.feature.output_name!r}, {item.embedding.dim} of {item.feature.output_name!r}"
        )
    tables = {entry.embedding.table for entry in found} - {None}
    if len(tables) == 1 and user.embedding.table == item.embedding.table:
        faults.append(f"model.propagation is between two tables; users and items share {user.embedding.table!r}")
    return faults + [
        f"{side}.features.{i}.embedding.update = 'rows': model.propagation gives every row a gradient; leave it out"
        for side, tower in (("query", recipe.query), ("candidate", recipe.candidate))
        for i, entry in enumerate(tower.features)
        if (entry in found or entry.embedding.table in tables) and entry.embedding.update == "rows"
    ]
