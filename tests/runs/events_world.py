"""A small world in which times decide, and runs that read more of events than their items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.recommender import Recommender
from twotower.runs import parse_recipe, run
from twotower.runs.fit_model import UntrainedModel, untrained_model
from twotower.runs.recipe import Recipe
from twotower.runs.tables import load_tables

ITEMS, USERS = 20, 150
DAY = 86_400
TRANSFORMER = {"kind": "transformer", "blocks": 1, "heads": 2, "hidden": 2, "dropout": 0.1}
FULL = {**TRANSFORMER, "relative_time": True, "relative_position": True, "time_gap": True}


def planted(decides: str) -> pl.DataFrame:
    """What follows an item is decided by how long it took: until the row itself, or until the event before it."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        at, item, soon = 1_700_000_000 + 1_000 * user, int(rng.integers(ITEMS)), True
        rows.append((f"u{user}", f"i{item}", at, 3.0, "tv"))
        for _ in range(14 + user % 5):
            before, soon = soon, bool(rng.random() < 0.5)
            at += int(rng.integers(30, 600)) if soon else int(rng.integers(DAY, 5 * DAY))
            item = (item + (1 if (soon if decides == "request" else before) else 7)) % ITEMS
            rows.append((f"u{user}", f"i{item}", at, float(rng.integers(1, 6)), str(rng.choice(["tv", "phone"]))))
    return pl.DataFrame(rows, schema=["user", "item", "time", "rating", "device"], orient="row")


def recipe(encoder: dict[str, Any], *, sequence: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    shared = {"dim": 16, "table": "item", "id_dropout": 0.0}
    values: dict[str, Any] = {
        "name": "timed",
        "device": "cpu",
        "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
        "split": {"kind": "leave_last_out"},
        "query": {
            "features": [{"kind": "sequence", "max_length": 8, **(sequence or {}), "embedding": {**shared, "encoder": encoder}}]
        },
        "candidate": {"features": [{"kind": "id", "column": "item", "embedding": shared}]},
        "model": {"layer_sizes": []},
        "loss": {"kind": "full"},
        "training": {
            "epochs": 8,
            "batch_size": 64,
            "optimizer": {"kind": "adamw", "learning_rate": 0.01},
            "early_stopping": False,
        },
        "evaluation": {"ks": [1, 5], "draws": 0, "per_user": False},
        "baselines": {"train": ["popularity"]},
    }
    return parse_recipe({**values, **changes})


def short(**changes: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 64, "early_stopping": False, **changes}


COLUMNS = {"request_time": True, "columns": ["rating", "device"]}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "transformer": (FULL, COLUMNS),
    "hstu": ({"kind": "hstu", "blocks": 2, "time_gap": True}, COLUMNS),
    "times": ({**TRANSFORMER, "relative_time": True}, {}),
    "columns": ({"kind": "gru"}, {"columns": ["rating", "device"]}),
}


def table() -> pl.DataFrame:
    """With ratings and devices that are missing here and there."""
    found = planted("request")
    row = pl.int_range(pl.len())
    return found.with_columns(
        rating=pl.when(row % 11 == 3).then(None).otherwise("rating"),
        device=pl.when(row % 13 == 5).then(None).otherwise("device"),
    )


class Trained:
    """A run, what it was trained on, and the model that it has."""

    def __init__(self, folder: Path, kind: str) -> None:
        encoder, sequence = KINDS[kind]
        self.recipe = recipe(encoder, sequence=sequence, training=short())
        self.folder, self.frame = folder, table()
        self.reads_times = kind != "columns"
        self.asks = bool(sequence.get("request_time"))
        self.columns = list(sequence.get("columns", []))
        run(self.recipe, folder, interactions=self.frame)
        self.recommender: Any = Recommender.load(folder / "bundle")
        with torch.no_grad():  # biases, gaps and columns that have been trained for long
            for name, parameter in self.recommender.model.named_parameters():
                if any(part in name for part in ("bias.", "gap.", "events.")):
                    generator = torch.Generator().manual_seed(len(name))
                    parameter.add_(torch.randn(parameter.shape, generator=generator))
        tables = load_tables(self.recipe, interactions=self.frame)
        self.untrained: UntrainedModel = untrained_model(self.recipe, tables, tables.split.train)

    def events(self, user: str, end: int) -> list[dict[str, Any]]:
        """What a user did before a row, as a request gives it."""
        before = self.frame.with_row_index("row").filter((pl.col("user") == user) & (pl.col("row") < end)).tail(8)
        names = [*(["time"] if self.reads_times else []), *self.columns]
        return [{"item": event["item"], **{name: event[name] for name in names}} for event in before.to_dicts()]

    def served(self, rows: np.ndarray, **changes: Any) -> Tensor:
        """The vectors of requests that give all that was known before some rows."""
        users, times = self.frame["user"].gather(rows).to_list(), self.frame["time"].gather(rows).to_list()
        histories = [self.events(user, int(row)) for user, row in zip(users, rows, strict=True)]
        features = [{"time": time} for time in times] if self.asks else None
        found: Tensor = self.recommender.encode_queries(histories=changes.get("histories", histories), features=features)
        return found
