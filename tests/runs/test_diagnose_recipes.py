"""What is found in runs of the shipped recipes: what is true of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.diagnosis import Diagnosis
from twotower.runs import diagnose, read_recipe, run

RECIPES = Path(__file__).parents[2] / "recipes"


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


@pytest.mark.slow
@pytest.mark.data
def test_movielens_has_exactly_one_finding(tmp_path: Path) -> None:
    run(read_recipe(RECIPES / "movielens.toml"), tmp_path / "run")
    diagnosis = diagnose(tmp_path / "run")
    assert codes(diagnosis) == ["leakage"]
    assert diagnosis.not_made == {}


@pytest.mark.slow
@pytest.mark.data
def test_the_by_time_recipe_is_clean(tmp_path: Path) -> None:
    run(read_recipe(RECIPES / "movielens-by-time.toml"), tmp_path / "run")
    diagnosis = diagnose(tmp_path / "run")
    assert codes(diagnosis) == []
    assert diagnosis.not_made == {}


@pytest.mark.slow
@pytest.mark.data
def test_the_notebooks_recipe_leaks_and_forgets_the_head(tmp_path: Path) -> None:
    run(read_recipe(RECIPES / "movielens-reference.toml", overrides=["training.epochs=20"]), tmp_path / "run")
    diagnosis = diagnose(tmp_path / "run")
    assert codes(diagnosis) == ["false_negatives", "head_bias", "leakage"]
    assert list(diagnosis.not_made) == ["idle_features"]
