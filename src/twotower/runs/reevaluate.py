"""Judge a finished run again, from its bundle, in a fresh process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from twotower.errors import BundleError, DataError
from twotower.models import ModelBuilder, build
from twotower.recommender import Recommender
from twotower.runs.judge import judge, summarised
from twotower.runs.phase import encode_phase
from twotower.runs.read_recipe import parse_recipe
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
    builder: ModelBuilder = build,
    cache_dir: Path | None = None,
) -> dict[str, Any]:
    """Load a run's bundle and judge it on the recipe's test rows: the figures of the run, if nothing changed.

    With ``refit = "all"`` the bundle that is judged is the measured one, which did not see the test rows.

    Args:
        folder: A run folder, or a bundle of one.
        interactions: In place of the recipe's table, as for the run.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        builder: What built the model, where it was one of your own.
        cache_dir: Where public data sets are kept; None for the default.

    Returns:
        As `RunResult.summary` has it, without what training told.

    Raises:
        BundleError: If the folder holds no finished run, or only a model that has seen the test rows.
        DataError: If the tables are no longer those of the run.
    """
    place = RunFolder(Path(folder))
    recommender = Recommender.load(place.path, builder=builder)
    recipe = _recipe_of(recommender, folder)
    if recipe.refit == "all":
        if not place.measured.is_dir():
            raise BundleError(
                f"{folder}: this bundle was trained on its test rows too; judge the run folder, whose {place.measured.name}/ "
                "holds the model that did not see them"
            )
        recommender = Recommender.load(place.measured, builder=builder)
        recipe = _recipe_of(recommender, folder)
    tables = load_tables(recipe, interactions=interactions, items=items, users=users, cache_dir=cache_dir)
    if tables.fingerprint != recommender.card["data"]["fingerprint"]:
        then = recommender.card["versions"]["polars"]
        versions = "" if then == pl.__version__ else f" (or it is polars: {then} hashed them then, {pl.__version__} does now)"
        raise DataError(
            f"{folder}: the tables are not those of the run: their contents or the split changed{versions}, so that its test "
            "rows are not known; judge it on the tables that it was trained with, or train anew"
        )
    split = tables.split
    fit_rows = split.train if recipe.refit == "none" else np.concatenate([split.train, split.validation])
    phase = encode_phase(recipe, tables, fit_rows, recommender.preprocessor, recommender.catalogue)
    found = judge(recipe, phase, recommender.model, split.test, device=torch.device("cpu"))
    return {"run_dir": str(place.path), **summarised(recipe, tables, found)}


def _recipe_of(recommender: Recommender, folder: str | Path) -> Recipe:
    if "recipe" not in recommender.card:
        raise BundleError(f"{folder}: this bundle was not written by a run, so there is no recipe to judge it by")
    return parse_recipe(recommender.card["recipe"], source=f"{folder}: recipe")
