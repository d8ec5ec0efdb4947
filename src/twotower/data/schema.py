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
        weight: Column of sample weights, finite and at least 0. None: every row weighs 1.
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
        return self
