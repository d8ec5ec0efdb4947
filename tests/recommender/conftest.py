"""A small world with every kind of request: features of users, context, histories, dislikes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.recommender import Recommender
from twotower.runs.fit_model import FittedModel, build_model, fit_model
from twotower.runs.phase import fit_phase
from twotower.runs.recipe import Recipe
from twotower.runs.ship import recommender_of
from twotower.runs.tables import load_tables


@dataclass(frozen=True)
class World:
    """A recommender and what it was made from.

    Attributes:
        interactions: ``user item at device rating``, in the order of the file.
        users: ``user age city``.
        items: ``item year query rank score``.
        fitted: The model and its phase.
        recommender: As it would be shipped.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    fitted: FittedModel
    recommender: Recommender

    def vectors(self, columns: dict[str, Any]) -> torch.Tensor:
        """Query vectors of encoded columns."""
        with torch.inference_mode():
            return self.recommender.model.encode_queries(columns).clone()


def tables_of(*, integers: bool, num_users: int, num_items: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(7)
    users = [100 + u if integers else f"user-{u:02}" for u in range(num_users)]
    items = [500 + i if integers else f"Item {i:02}" for i in range(num_items)]
    size = num_users * 12
    interactions = pl.DataFrame(
        {
            "user": [users[u] for u in rng.integers(0, num_users, size)],
            "item": [items[i] for i in rng.integers(0, num_items, size)],
            "at": rng.integers(1_600_000_000, 1_600_900_000, size),
            "device": [("phone", "desk", "tv")[d] for d in rng.integers(0, 3, size)],
            "rating": rng.integers(1, 6, size),
        }
    )
    people = pl.DataFrame(
        {
            "user": users,
            "age": pl.Series(rng.integers(18, 80, num_users), dtype=pl.Int16),
            "city": [("Rome", "Oslo")[c] for c in rng.integers(0, 2, num_users)],
        }
    )
    catalogue = pl.DataFrame(
        {
            "item": items,
            "year": rng.integers(1950, 2020, num_items),
            "query": [f"q{i}" for i in range(num_items)],
            "rank": rng.random(num_items),
            "score": rng.random(num_items),
        }
    )
    return interactions, people, catalogue


@functools.cache
def world_of(
    *,
    mode: str = "before",
    split: str = "time",
    integers: bool = False,
    positives: str | None = None,
    order: str = "time",
    max_length: int | None = None,
    num_users: int = 25,
    num_items: int = 30,
    tasks: tuple[str, ...] = (),
) -> World:
    interactions, people, catalogue = tables_of(integers=integers, num_users=num_users, num_items=num_items)
    embedding = {"dim": 8, "init_scale": 1.0}
    history = {"kind": "history", "mode": mode, "max_length": max_length, "embedding": {**embedding, "pooling": "sqrt_n"}}
    recipe = parse_config(
        Recipe,
        {
            "name": "world",
            "device": "cpu",
            "data": {"columns": {"user": "user", "item": "item", "time": "at", "positives": positives, "order": order}},
            "split": {"kind": split, "test": 0.2, "validation": 0},
            "query": {
                "features": [
                    {"kind": "id", "column": "user", "embedding": embedding},
                    {"kind": "number", "column": "age"},
                    {"kind": "category", "column": "city", "embedding": embedding},
                    {"kind": "timestamp", "column": "at", "standardise": True},
                    {"kind": "category", "column": "device", "missing": "own_row", "embedding": embedding},
                    history,
                ]
            },
            "candidate": {
                "features": [{"kind": "id", "column": "item", "embedding": embedding}, {"kind": "number", "column": "year"}]
            },
            "model": {"layer_sizes": [16, 8]},
            "tasks": [{"name": name, "column": "rating", "kind": "ordinal"} for name in tasks],
            "training": {"epochs": 1, "batch_size": 64, "early_stopping": False},
        },
    )
    tables = load_tables(recipe, interactions=interactions, items=catalogue, users=people)
    fitted = fit_model(recipe, build_model(recipe, fit_phase(recipe, tables, tables.split.train)), device=torch.device("cpu"))
    return World(interactions, people, catalogue, fitted, recommender_of(fitted, {"name": "world"}))


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """Worlds by their options; equal options give the same world."""
    return world_of


@pytest.fixture(scope="session")
def world() -> World:
    """Text ids, a split by time, and no row that is disliked."""
    return world_of()
