"""A tower whose tables were propagated is exported like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch

from twotower.export import export_onnx
from twotower.recommender import Recommender
from twotower.runs import parse_recipe, run


def test_propagated_tables_are_those_of_the_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "user": [f"u{user}" for user in rng.integers(0, 20, 300)],
            "item": [f"i{item}" for item in rng.integers(0, 15, 300)],
            "time": range(300),
        }
    )
    shared = {"dim": 8, "table": "items"}
    features = [{"kind": "id", "column": "user", "embedding": {"dim": 8}}, {"kind": "history", "embedding": shared}]
    recipe = parse_recipe(
        {
            "name": "exported",
            "device": "cpu",
            "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
            "query": {"features": features},
            "candidate": {"features": [{"kind": "id", "column": "item", "embedding": shared}]},
            "model": {"layer_sizes": [8], "propagation": {"layers": 2}},
            "training": {"epochs": 2, "batch_size": 32, "early_stopping": False},
            "evaluation": {"ks": [5], "draws": 0},
        }
    )
    run(recipe, tmp_path / "run", interactions=table)
    done = export_onnx(tmp_path / "run", tmp_path / "towers")
    recommender = Recommender.load(tmp_path / "run" / "bundle")
    assert done.signature.candidate.checked_rows >= 15
    assert max(done.signature.query.largest_error, done.signature.candidate.largest_error) < 5e-5
    assert isinstance(recommender.model.embeddings.table("items"), torch.nn.Parameter)
