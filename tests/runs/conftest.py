"""A small world for whole runs, and recipes for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.runs import Recipe, parse_recipe

MakeRecipe = Callable[..., Recipe]


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


@pytest.fixture(scope="session")
def make_recipe() -> MakeRecipe:
    """A recipe for the small world, with sections overridden by keyword."""

    def make(**sections: Any) -> Recipe:
        base: dict[str, Any] = {
            "name": "small",
            "device": "cpu",
            "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
            "split": {"kind": "time", "test": 20, "validation": 10},
            "query": {"features": [{"kind": "id", "column": "user", "embedding": {"dim": 4}}]},
            "candidate": {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 4}}]},
            "model": {"layer_sizes": []},
            "training": {"epochs": 2, "batch_size": 16, "early_stopping": {"metric": "recall@5"}},
            "evaluation": {"ks": [1, 5], "draws": 0, "per_user": False},
        }
        return parse_recipe(_merged(base, sections))

    return make


@pytest.fixture(scope="session")
def interactions() -> pl.DataFrame:
    """100 rows in another order than that of time: users a to j, items 0 to 7; j and item 7 come at the end only."""
    rng = np.random.default_rng(5)
    users = rng.integers(0, 9, size=100)
    items = rng.integers(0, 7, size=100)
    users[[90, 95]] = 9
    items[[93, 97]] = 7
    frame = pl.DataFrame(
        {
            "user": [f"u{u}" for u in users],
            "item": items,
            "time": 1_600_000_000 + 60 * np.arange(100),
            "rating": rng.integers(1, 6, size=100),
            "weight": rng.uniform(0.1, 3.0, size=100),
        }
    )
    return frame[rng.permutation(100)]


@pytest.fixture(scope="session")
def items() -> pl.DataFrame:
    """All items but number 7, and one that nobody chose."""
    return pl.DataFrame({"item": [6, 5, 4, 3, 2, 1, 0, 99], "price": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]})


@pytest.fixture(scope="session")
def users() -> pl.DataFrame:
    """All users but u3, and one who chose nothing."""
    names = [f"u{u}" for u in range(10) if u != 3] + ["idle"]
    return pl.DataFrame({"user": names, "age": list(range(20, 30))})
