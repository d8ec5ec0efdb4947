"""Every loss that a recipe can ask for, through the whole of a training: each learns what was planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.runs import Recipe, load_tables
from twotower.runs.fit_model import UntrainedModel, fit_model, untrained_model

MakeRecipe = Callable[..., Recipe]

GROUPS, USERS, ITEMS = 4, 60, 48


@pytest.fixture(scope="module")
def planted() -> pl.DataFrame:
    """User u takes items of the group u % 4 alone, the first of a group far more often than the last."""
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(USERS), 20)
    popularity = 1 / np.arange(1, ITEMS // GROUPS + 1)
    items = rng.choice(ITEMS // GROUPS, size=len(users), p=popularity / popularity.sum()) * GROUPS + users % GROUPS
    order = rng.permutation(len(users))
    return pl.DataFrame({"user": users[order], "item": items[order], "time": 1_600_000_000 + 60 * np.arange(len(users))})


def share_of_own_group(untrained: UntrainedModel) -> float:
    """Of each user's best 12 items, how many are of the user's group; 1 at best, a quarter by chance."""
    model, phase = untrained.model, untrained.phase
    users = {name: column for name, column in untrained.batches.examples.users.items() if isinstance(column, torch.Tensor)}
    with torch.no_grad():
        scores_UN = model.encode_queries(users) @ model.encode_candidates(phase.items).T
    best_UK = scores_UN.topk(ITEMS // GROUPS, dim=1).indices.numpy()
    items = np.asarray(phase.catalogue.ids.to_list())[best_UK]
    names = np.asarray(phase.tables.user_ids.ids.to_list())
    return float((items % GROUPS == names[:, None] % GROUPS).mean())


LOSSES: dict[str, dict[str, Any]] = {
    "in batch": {"kind": "in_batch"},
    "corrected": {"kind": "in_batch", "log_q": "corrected"},
    "corrected, with uniform negatives": {"log_q": "corrected", "extra_negatives": 16, "mask_known_positives": True},
    "gbce": {"kind": "gbce", "extra_negatives": 24},
    "gbce over all items": {"kind": "gbce", "mask_known_positives": True},
    "bilateral": {"kind": "bsl", "temperature": 0.2, "positive_temperature": 0.3},
    "a queue": {"kind": "in_batch", "queue_batches": 2},
    "a sketch": {"kind": "in_batch", "sketch": {"width": 64, "depth": 2}},
    "cosines": {"kind": "in_batch", "temperature": 0.1},
}
MODELS: dict[str, dict[str, Any]] = {"bilateral": {"l2_normalise": True}, "cosines": {"l2_normalise": True}}


@pytest.mark.parametrize("name", LOSSES)
def test_what_was_planted_is_learned(name: str, make_recipe: MakeRecipe, planted: pl.DataFrame) -> None:
    recipe = make_recipe(
        loss=LOSSES[name],
        model=MODELS.get(name, {}),
        query={"features": [{"kind": "id", "column": "user", "embedding": {"dim": 8}}]},
        candidate={"features": [{"kind": "id", "column": "item", "embedding": {"dim": 8}}]},
        split={"test": 60, "validation": 60},
        training={"epochs": 12, "batch_size": 64, "optimizer": {"kind": "adamw", "learning_rate": 0.1}},
    )
    tables = load_tables(recipe, interactions=planted)
    untrained = untrained_model(recipe, tables, tables.split.train)
    before = share_of_own_group(untrained)
    fitted = fit_model(recipe, untrained, device=torch.device("cpu"))
    assert before < 0.3
    assert share_of_own_group(untrained) > 0.8
    assert fitted.training.records[-1]["loss"] < fitted.training.records[0]["loss"]
