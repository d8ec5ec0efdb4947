"""Judge a finished run again, from its bundle, in a fresh process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from twotower.config import parse_config
from twotower.errors import BundleError, DataError
from twotower.recommender import load_recommender
from twotower.runs.judge import judge
from twotower.runs.phase import encode_phase
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import RunFolder
from twotower.runs.tables import load_tables

__all__ = ["reevaluate"]


def reevaluate(
    folder: str | Path,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    cache_dir: Path | None = None,
) -> dict[str, Any]:
    """Load a run's bundle and judge it on the recipe's test rows: the figures of the run, if nothing changed.

    With ``refit = "all"`` the bundle that is judged is the measured one, which did not see the test rows.

    Args:
        folder: A run folder.
        interactions: In place of the recipe's table, as for the run.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        cache_dir: Where public data sets are kept; None for the default.

    Returns:
        As `RunResult.summary` has it, without what training told.

    Raises:
        BundleError: If the folder holds no finished run.
        DataError: If the tables are no longer those of the run.
    """
    place = RunFolder(Path(folder))
    recommender = load_recommender(place.measured if place.measured.is_dir() else place.path)
    if "recipe" not in recommender.card:
        raise BundleError(f"{folder}: this bundle was not written by a run, so there is no recipe to judge it by")
    recipe = parse_config(Recipe, recommender.card["recipe"], source=f"{folder}: recipe")
    tables = load_tables(recipe, interactions=interactions, items=items, users=users, cache_dir=cache_dir)
    if tables.fingerprint != recommender.card["data"]["fingerprint"]:
        raise DataError(
            f"{folder}: the tables are not those of the run (their contents or the split changed), so that its test "
            "rows are not known; "
            "judge it on the tables that it was trained with, or train anew"
        )
    split = tables.split
    fit_rows = split.train if recipe.refit == "none" else np.concatenate([split.train, split.validation])
    phase = encode_phase(recipe, tables, fit_rows, recommender.preprocessor, recommender.catalogue)
    found = judge(recipe, phase, recommender.model, split.test, device=torch.device("cpu"))
    return {
        "run_dir": str(place.path),
        "recipe": recipe.name,
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "metrics": {"test": found["model"]},
        "baselines": {"popularity": found["popularity"], "random": found["random"]},
        "evaluation": {"seconds": found["seconds"], **found["counts"]},
        "details": found["details"],
    }
