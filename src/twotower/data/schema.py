"""What the columns of an interactions table mean, and the rules for rows that do not fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from twotower.config import Config
from twotower.data.positives import parse_positives

__all__ = ["Schema"]


class Schema(Config):
    """The one place where the words of a table meet ours.

    Attributes:
        user: Column of user ids.
        item: Column of item ids.
        time: Column of times: Unix seconds, dates or datetimes. None: there is none.
        order: What happened first is told by ``time`` (rows of the same time: by row number), or by ``row`` number alone, which
            has to be declared where there is no time.
        positives: Rows that count as positives, for instance ``"rating >= 4 and kind == 'buy'"``; the others are kept apart as
            negatives. None: every row is one.
        weight: Column of sample weights, finite and at least 0; a missing one is an error unless the table's ``fill`` gives it
            a value. None: every row weighs 1.
        weight_transform: What a weight becomes, once capped: ``log1p`` (the natural logarithm of 1 plus it: durations and
            counts have long tails), or ``none``: itself. Where repeats are summed, the sum is capped and transformed.
        weight_cap: Greater weights count as this; before the transform. None: no cap.
        weight_base: Added after the transform. With 0 a row of weight 0 teaches nothing; with more it teaches a little.
        repeats: Rows of one (user, item) pair: ``keep`` all, the ``first`` or the ``last`` in order, or ``sum``: the last, with
            the sum of the weights.
        null_ids: Rows without a user or an item: ``error`` or ``drop``.
        unknown_items: Rows whose item the catalogue lacks: ``drop`` or ``error``.
        min_item_count: Items with fewer positives are dropped; applied once, before users are counted.
        min_user_count: Users with fewer positives, after that, are dropped; applied once.

    Example:
        >>> Schema(user="user_id", item="movie_title", time="timestamp", positives="rating >= 4").order
        'time'
    """

    user: str = Field(min_length=1)
    item: str = Field(min_length=1)
    time: str | None = None
    order: Literal["time", "row"] = "time"
    positives: str | None = None
    weight: str | None = None
    weight_transform: Literal["none", "log1p"] = "none"
    weight_cap: float | None = Field(default=None, gt=0)
    weight_base: float = Field(default=0.0, ge=0)
    repeats: Literal["keep", "first", "last", "sum"] = "keep"
    null_ids: Literal["error", "drop"] = "error"
    unknown_items: Literal["drop", "error"] = "drop"
    min_item_count: int = Field(default=1, ge=1)
    min_user_count: int = Field(default=1, ge=1)

    @field_validator("positives")
    @classmethod
    def _readable_positives(cls, value: str | None) -> str | None:
        if value is not None:
            parse_positives(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        if self.user == self.item:
            raise ValueError(f"user and item must be two columns; both are {self.user!r}")
        if self.time is None and self.order == "time":
            raise ValueError("order is 'time' but no time column is declared; name one in `time`, or declare order = 'row'")
        chosen = {
            "weight_transform": self.weight_transform != "none",
            "weight_cap": self.weight_cap is not None,
            "weight_base": self.weight_base > 0,
        }
        shaped = [name for name, is_chosen in chosen.items() if is_chosen]
        if shaped and self.weight is None and self.repeats != "sum":
            raise ValueError(
                f"{shaped[0]} shapes a weight, and there is none: name its column in `weight`, or declare repeats = 'sum'"
            )
        return self
