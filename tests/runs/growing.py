"""A log that grows, a recipe for it, and a model that goes on from another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower.runs import Recipe, load_tables, parse_recipe
from twotower.runs.fit_model import OwnParts, UntrainedModel, untrained_model
from twotower.runs.warm_run import WarmRun
from twotower.runs.warm_source import WarmSource, open_source

__all__ = ["log", "opened", "recipe", "started"]

ITEM: dict[str, Any] = {"dim": 8, "table": "item"}
WORDS = ("sun", "sea", "old", "man", "red", "ice", "sky", "oak")


def log(rows: int = 400) -> pl.DataFrame:
    """A stream in which users, items and words come and go; its first rows do not depend on how many there are."""
    rng = np.random.default_rng(3)
    at = np.arange(600)
    users, items = at // 20 + rng.integers(0, 12, 600), at // 60 + rng.integers(0, 8, 600)
    frame = pl.DataFrame(
        {
            # a later id may come first in the alphabet, so that rows move
            "user": [f"u{97 - u}" for u in users],
            "item": [f"i{97 - i}" for i in items],
            "title": [f"{WORDS[i % 8]} {WORDS[-1 - i // 3 % 8]}" for i in items],
            "time": 1_600_000_000 + 60 * at,
            "age": rng.normal(30, 5, 600) + at / 100,
            "rating": rng.integers(1, 6, 600),
        }
    )
    return frame.head(rows)


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "growing",
        "device": "cpu",
        "data": {"columns": {"user": "user", "item": "item", "time": "time"}, "catalogue": {"columns": ["title"]}},
        "split": {"kind": "time", "test": 40, "validation": 0},
        "query": {
            "features": [
                {"kind": "id", "column": "user", "embedding": {"dim": 8}},
                {"kind": "history", "max_length": 5, "own_item": "allow", "embedding": {**ITEM, "pooling": "sum"}},
                {"kind": "sequence", "max_length": 4, "embedding": {**ITEM, "encoder": {"kind": "transformer", "blocks": 1}}},
                {"kind": "number", "column": "age"},
                {"kind": "buckets", "column": "age", "name": "years", "num_edges": 4, "spacing": "quantile"},
            ]
        },
        "candidate": {
            "features": [
                {"kind": "id", "column": "item", "embedding": ITEM},
                {"kind": "text", "column": "title", "embedding": {"dim": 4}},
            ]
        },
        "model": {"layer_sizes": [16, 8]},
        "loss": {"kind": "in_batch", "learn_temperature": True},
        "tasks": [
            {"name": "stars", "column": "rating", "kind": "regression"},
            {"name": "level", "column": "rating", "kind": "ordinal"},
        ],
        "training": {"epochs": 2, "batch_size": 64, "early_stopping": False},
        "evaluation": {"ks": [1, 5], "draws": 0, "per_user": False},
        "baselines": {"train": ["popularity"]},
    }
    return parse_recipe({**values, **changes})


def opened(folder: Path) -> WarmSource:
    own = OwnParts()
    return open_source(folder, builder=own.builder, make_loss=own.make_loss)


def started(recipe: Recipe, folder: Path, frame: pl.DataFrame | None = None) -> UntrainedModel:
    tables = load_tables(recipe, interactions=log() if frame is None else frame)
    return untrained_model(recipe, tables, tables.split.train, warm=WarmRun(recipe, tables, opened(folder)).select)
