"""A trained model that another training goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from twotower.recommender import Recommender
from twotower.training import States

__all__ = ["WarmModel"]


@dataclass(frozen=True, eq=False)
class WarmModel:
    """A trained model to go on from.

    Attributes:
        source: The run that it is of, for messages.
        recommender: The model, its preprocessing, and the users and items that it learned from.
        loss: Learned parameters of its loss (a temperature), by name; empty where they are not known.
        states: What its optimisers kept; empty where that is not known.
    """

    source: str
    recommender: Recommender
    loss: Mapping[str, Tensor]
    states: States
