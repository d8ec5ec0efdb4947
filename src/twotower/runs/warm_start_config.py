"""The warm_start section of a recipe: what a run that goes on from another one takes over, and what it learns from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from twotower.config import Config

__all__ = ["WarmStartConfig"]


class WarmStartConfig(Config):
    """How a run goes on from another one: ``twotower train RECIPE --from RUN``. Without ``--from`` it says nothing.

    Attributes:
        rows: What is learned from. ``new``: the train rows that the other run did not learn from. ``all``: every train row.
        replay: With ``new``: so many known train rows for each new one, drawn at random by the recipe's seed (1.0: as many as
            there are new ones), so that what was learned of them is not forgotten.
        new_ids: Where the embeddings of ids (words, categories, cells) start that the other run did not know: ``unknown``: at
            its row of unknown values, which it trained to stand for them; ``mean``: at the mean of the rows that are carried;
            either with the recipe's initial values added, so that no two are alike; ``fresh``: at these alone.
        optimizer: ``carry``: its optimiser goes on with the sums and moments that it had, where the run folder has them;
            ``fresh``: it starts anew.
        numbers: ``keep``: numbers, times and buckets are read with the moments and edges of the other run, so that what was
            learned of them holds. ``refit``: with those of this run's train rows; each bucket takes the embedding of the one
            that its middle lay in.
        partial: Carry what can be carried, and start the other parts anew: a feature that was added, layers of another width.
            Otherwise such parts are an error.
        overlap: Where the other run learned from rows that this one validates or tests on: ``refuse``, or ``note`` it beside
            the figures, which are then too good.
    """

    rows: Literal["new", "all"] = "new"
    replay: float = Field(default=0.0, ge=0)
    new_ids: Literal["fresh", "unknown", "mean"] = "unknown"
    optimizer: Literal["carry", "fresh"] = "carry"
    numbers: Literal["keep", "refit"] = "keep"
    partial: bool = False
    overlap: Literal["refuse", "note"] = "refuse"
