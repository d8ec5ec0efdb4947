"""Tasks beside retrieval, as a recipe asks for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from twotower.config import Config
from twotower.spec import HeadInput

__all__ = ["TaskConfig"]


class TaskConfig(Config):
    """An outcome of the rows (a rating, say) that a head learns to predict of a query and an item, beside retrieval.

    The head is dense layers on the two towers' vectors; the dot product that scores is not changed, but the towers learn from
    both. Rows without an outcome (null) do not take part. Only positives do: with ``data.columns.positives`` the rows that
    fail the condition teach retrieval nothing, and neither the task, though they have an outcome.

    Attributes:
        name: Names the task in logs, figures and answers.
        column: Column of the interactions that holds the outcome: numbers, null where a row has none. It can't be an input of
            the query.
        kind: ``regression``: squared error of the standardised outcome, predictions clipped to the range of the fit rows.
            ``ordinal``: the distinct values of the fit rows are levels in their order, at most 100 (proportional odds); the
            prediction is the expected value.
        weight: Of its loss; that of retrieval is ``loss.weight``.
        inputs: What the head reads of a pair: the vector of the ``query``, of the ``candidate``, and their ``product``, number
            by number.
        layer_sizes: Widths of the head's hidden layers; none: linear. Their activation is the model's.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    column: str = Field(min_length=1)
    kind: Literal["regression", "ordinal"] = "regression"
    weight: float = Field(default=1.0, gt=0)
    inputs: tuple[HeadInput, ...] = Field(default=("query", "candidate", "product"), min_length=1)
    layer_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (32,)

    @field_validator("name")
    @classmethod
    def _another_name_than_the_first(cls, name: str) -> str:
        if name == "retrieval":
            raise ValueError("'retrieval' is the task that every recipe has; give this one another name")
        return name

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, inputs: tuple[HeadInput, ...]) -> tuple[HeadInput, ...]:
        if len(set(inputs)) < len(inputs):
            raise ValueError("each may be named once")
        return inputs
