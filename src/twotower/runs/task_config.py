"""Tasks beside retrieval, as a recipe asks for them."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

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
        edges: Of an ordinal task: cut the numbers into levels, as many as there are edges and one more, so that long-tailed
            numbers (counts, seconds) have few. Level 0 is below the first edge, level 1 from the first to below the second, and
            so on; ascending, at most 99. What is learned, judged and predicted is then the level: a prediction is the expected
            level, from 0 to the number of edges, and not in the column's units.
        weight: Of its loss; that of retrieval is ``loss.weight``.
        inputs: What the head reads of a pair: the vector of the ``query``, of the ``candidate``, and their ``product``, number
            by number.
        layer_sizes: Widths of the head's hidden layers; none: linear. Their activation is the model's.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    column: str = Field(min_length=1)
    kind: Literal["regression", "ordinal"] = "regression"
    edges: tuple[float, ...] | None = Field(default=None, min_length=1, max_length=99)
    weight: float = Field(default=1.0, gt=0)
    inputs: tuple[HeadInput, ...] = Field(default=("query", "candidate", "product"), min_length=1)
    layer_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (32,)

    @property
    def outcome(self) -> str:
        """Names what the task learns among the outcomes of the rows: the column, or the column in levels."""
        return self.column if self.edges is None else f"{self.column}, in levels by {list(self.edges)}"

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

    @field_validator("edges")
    @classmethod
    def _ascending(cls, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if edges is not None and any(left >= right for left, right in pairwise(edges)):
            raise ValueError("must ascend, each once")
        return edges

    @model_validator(mode="after")
    def _levels_are_ordinal(self) -> TaskConfig:
        if self.edges is not None and self.kind != "ordinal":
            raise ValueError(
                f"edges make levels, and kind = {self.kind!r} learns numbers: set kind = 'ordinal', or leave edges out"
            )
        return self
