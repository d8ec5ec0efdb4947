"""What a recipe says of propagation over the graph of interactions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from twotower.config import Config
from twotower.nn import layer_weights

__all__ = ["PropagationConfig"]


class PropagationConfig(Config):
    """Light propagation of id embeddings (LightGCN, He et al. 2020): what users did moves their vectors and those of the items.

    The table of the user's id and that of the item's id are propagated together; every feature that shares one of them reads
    propagated rows. Users and items without a row of their own stay as they are.

    Attributes:
        layers: How far: a user's vector takes in what was done by those who share items after 2, and so on. 0 is none.
        weights: Of the vectors after 0, 1, ... ``layers`` steps, in the sum that is looked up. None: their mean.
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
