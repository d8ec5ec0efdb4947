"""Runs of the shipped recipes, trained briefly and exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.datasets import synthesize_livestream
from twotower.export import export_onnx, export_vectors
from twotower.runs import read_recipe, run

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.data
@pytest.mark.parametrize("name", ["movielens", "movielens-rating"])
def test_movielens(name: str, tmp_path: Path) -> None:
    overrides = ["training.epochs=1", "refit='none'", "evaluation.draws=0", "evaluation.per_user=false"]
    run(read_recipe(RECIPES / f"{name}.toml", overrides=overrides), tmp_path / "run")
    done = export_onnx(tmp_path / "run", tmp_path / "towers", check_rows=10_000)
    assert done.signature.query.checked_rows > 943
    assert done.signature.candidate.checked_rows > 1_600
    assert max(done.signature.query.largest_error, done.signature.candidate.largest_error) < 5e-5
    assert export_vectors(tmp_path / "run", tmp_path / "vectors", users=True).users == 943


@pytest.mark.slow
def test_live_streams(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    truth = synthesize_livestream(log, rows=30_000, seed=3)
    overrides = [f"data.interactions.path='{log}'", f"baselines.truth='{truth}'", "training.epochs=1", "evaluation.draws=0"]
    run(read_recipe(RECIPES / "livestream.toml", overrides=overrides), tmp_path / "run", cache_dir=tmp_path / "cache")
    done = export_onnx(tmp_path / "run", tmp_path / "towers")
    assert max(done.signature.query.largest_error, done.signature.candidate.largest_error) < 5e-5
    kinds = {entry.name: entry.kind for entry in done.signature.query.inputs}
    assert {"viewer_longitude": "number", "viewer_age": "number", "history.rows": "rows"}.items() <= kinds.items()
