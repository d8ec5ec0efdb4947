"""The shipped recipes: they parse, they run, and they find what the README says."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.datasets import synthesize_livestream
from twotower.runs import read_recipe, run

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses_and_is_named_after_its_file(path: Path) -> None:
    assert read_recipe(path).name == path.stem


def _path(name: str) -> Path:
    return next(path for path in RECIPES if path.stem == name)


@pytest.mark.data
@pytest.mark.parametrize("name", ["movielens", "movielens-by-time"])
def test_a_recipe_is_above_popularity_after_two_epochs(name: str, tmp_path: Path) -> None:
    overrides = ["training.epochs=2", "refit='none'", "evaluation.draws=0", "evaluation.per_user=false"]
    summary = run(read_recipe(_path(name), overrides=overrides), tmp_path / "run").summary
    model, popularity = summary["metrics"]["test"], summary["baselines"]["popularity"]
    for variant in ("seen_included", "seen_removed"):
        assert model[variant]["recall@100"] > popularity[variant]["recall@100"]


def test_live_streams_are_above_popularity_within_segments(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    truth = synthesize_livestream(log, rows=60_000, seed=3)
    overrides = [f"data.interactions.path='{log}'", f"baselines.truth='{truth}'", "split.test=0.05", "training.epochs=6"]
    overrides += ["training.batch_size=512", "evaluation.draws=0"]
    summary = run(read_recipe(_path("livestream"), overrides=overrides), tmp_path / "run", cache_dir=tmp_path / "cache").summary
    details = summary["details"]
    for group in ("warm", "cold"):
        found = {name: of[group]["seen_included"]["recall@100"] for name, of in details.items()}
        # segments of so small a log know little of strangers: popularity itself may be above them
        assert found["oracle"] > found["model"] > max(found["segment_popularity"], found["popularity"]) + 0.03


@pytest.mark.data
def test_ratings_are_predicted_better_than_by_their_mean_after_two_epochs(tmp_path: Path) -> None:
    overrides = ["training.epochs=2", "refit='none'", "evaluation.draws=0", "evaluation.per_user=false"]
    judged = run(read_recipe(_path("movielens-rating"), overrides=overrides), tmp_path / "run").summary["outcomes"]["rating"]
    assert judged["rows"] == 20_000
    # numpy alone: the mean of the first 72,000 rows of the permutation, judged on the last 20,000
    assert judged["mean"]["rmse"] == pytest.approx(1.1331, abs=5e-5)
    assert judged["model"]["rmse"] < 0.95 * judged["mean"]["rmse"]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1800)
def test_the_shipped_recipe_reaches_its_floor(tmp_path: Path) -> None:
    test = run(read_recipe(_path("movielens"), overrides=["evaluation.draws=0"]), tmp_path / "run").summary["metrics"]["test"]
    assert test["seen_included"]["recall@100"] >= 0.45
    assert test["seen_removed"]["recall@100"] >= 0.64


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("sizes", "recall"), [("[32]", 0.272), ("[64, 32]", 0.292), ("[128, 64, 32]", 0.283)])
def test_the_reference_is_no_straw_man(sizes: str, recall: float, tmp_path: Path) -> None:
    recipe = read_recipe(_path("movielens-reference"), overrides=[f"model.layer_sizes={sizes}", "evaluation.draws=0"])
    assert run(recipe, tmp_path / "run").summary["metrics"]["test"]["seen_included"]["recall@100"] == pytest.approx(
        recall, abs=0.012
    )
