"""A finished run, read back whole: what judging again, a report and a diagnosis start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower.data import DataReport
from twotower.errors import BundleError, DataError
from twotower.evaluation import JudgedRows
from twotower.models import ModelBuilder, build
from twotower.recommender import Recommender
from twotower.runs.phase import Phase, encode_phase
from twotower.runs.read_recipe import parse_recipe
from twotower.runs.recipe import Recipe
from twotower.runs.run_folder import RunFolder
from twotower.runs.tables import Tables, load_tables
from twotower.runs.warm_source import learned_rows_of

__all__ = ["LoadedRun", "load_run", "require_same_tables"]


_FIGURES = ("rows", "metrics", "evaluation", "training", "selection", "device", "notes", "peak_memory_bytes")
"""What every ``result.json`` holds that reports and diagnoses read."""

_RECORD = {"phase", "epoch", "seconds", "loss", "metrics"}
"""The same of a line of ``metrics.jsonl``."""


@dataclass(frozen=True)
class LoadedRun:
    """A finished run.

    Attributes:
        place: Its folder.
        recipe: As resolved when it was trained.
        recommender: Of the model that the figures are of, which did not see the test rows.
        tables: Read anew, and the same as then.
        phase: What that model was fitted on, encoded with its own preprocessing.
    """

    place: RunFolder
    recipe: Recipe
    recommender: Recommender
    tables: Tables
    phase: Phase

    @property
    def result(self) -> dict[str, Any]:
        """The figures, as ``result.json`` has them.

        Raises:
            BundleError: If this is a bundle without its run folder, the run has not finished, or the file is damaged.
        """
        try:
            found = json.loads(self._text(self.place.result))
        except ValueError as error:
            raise BundleError(f"{self.place.result}: damaged ({error}); train the run again") from None
        lacking = [name for name in _FIGURES if name not in found] if isinstance(found, dict) else list(_FIGURES)
        if lacking:
            raise BundleError(f"{self.place.result}: not the figures of a run, or damaged: no {', '.join(lacking)}")
        return dict(found)

    @property
    def records(self) -> list[dict[str, Any]]:
        """A record per epoch and phase, as ``metrics.jsonl`` has them.

        Raises:
            BundleError: As for `result`.
        """
        try:
            found = [json.loads(line) for line in self._text(self.place.metrics).splitlines()]
        except ValueError as error:
            raise BundleError(f"{self.place.metrics}: not the records of a training, or damaged ({error})") from None
        wrong = next((i for i, record in enumerate(found, 1) if not isinstance(record, dict) or _RECORD - record.keys()), None)
        if wrong is not None:
            raise BundleError(f"{self.place.metrics}: not the records of a training, or damaged (line {wrong})")
        return found

    @property
    def data_report(self) -> DataReport:
        """What was read and dropped, as ``data.json`` has it.

        Raises:
            BundleError: As for `result`.
        """
        try:
            return DataReport.model_validate_json(self._text(self.place.data))
        except ValueError:
            raise BundleError(f"{self.place.data}: not what a run reports of its tables, or damaged") from None

    def judged(self, *, frozen: bool = False) -> JudgedRows | None:
        """Every ranker's ranks of the test rows; None where frozen ones are asked for and histories do not grow.

        Raises:
            BundleError: If the file is missing or damaged.
        """
        if frozen and not self.phase.grows:
            return None
        return JudgedRows.read(self.place.judged_frozen if frozen else self.place.judged)

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise BundleError(f"{path}: missing; this needs the whole folder of a finished run, not only its bundle") from None


def load_run(
    folder: str | Path,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    builder: ModelBuilder = build,
    cache_dir: Path | None = None,
) -> LoadedRun:
    """Read a run's model, and the tables that it was trained on.

    With ``refit = "all"`` the model is the measured one, which did not see the test rows.

    Args:
        folder: A run folder, or a bundle of one.
        interactions: In place of the recipe's table, as for the run.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        builder: What built the model, where it was one of your own.
        cache_dir: Where public data sets are kept; None for the default.

    Raises:
        BundleError: If the folder holds no finished run, or only a model that has seen the test rows.
        DataError: If the tables are no longer those of the run.
    """
    place = RunFolder(Path(folder))
    recommender = Recommender.load(place.path, builder=builder, index="exact")
    recipe = _recipe_of(recommender, folder)
    if recipe.refit == "all":
        if not place.measured.is_dir():
            raise BundleError(
                f"{folder}: this bundle was trained on its test rows too; judge the run folder, whose {place.measured.name}/ "
                "holds the model that did not see them"
            )
        recommender = Recommender.load(place.measured, builder=builder, index="exact")
        recipe = _recipe_of(recommender, folder)
    tables = load_tables(recipe, interactions=interactions, items=items, users=users, cache_dir=cache_dir)
    require_same_tables(folder, recommender.card, tables)
    split = tables.split
    fit_rows = split.train if recipe.refit == "none" else np.concatenate([split.train, split.validation])
    learned = learned_rows_of(place, "select" if recipe.refit == "none" else "refit")
    phase = encode_phase(recipe, tables, fit_rows, recommender.preprocessor, recommender.catalogue, learn_from=learned)
    return LoadedRun(place, recipe, recommender, tables, phase)


def require_same_tables(folder: str | Path, card: Mapping[str, Any], tables: Tables) -> None:
    """Make sure that a run was trained on these tables, split like this.

    Args:
        folder: The run's, for the message.
        card: Of its bundle.
        tables: As they are now.

    Raises:
        DataError: If not: which rows it was judged on is then not known.
    """
    if tables.fingerprint == card["data"]["fingerprint"]:
        return
    then = card["versions"]["polars"]
    versions = "" if then == pl.__version__ else f" (or it is polars: {then} hashed them then, {pl.__version__} does now)"
    raise DataError(
        f"{folder}: the tables are not those of the run: their contents or the split changed{versions}, so that its test "
        "rows are not known; judge it on the tables that it was trained with, or train anew"
    )


def _recipe_of(recommender: Recommender, folder: str | Path) -> Recipe:
    if "recipe" not in recommender.card:
        raise BundleError(f"{folder}: this bundle was not written by a run, so there is no recipe to judge it by")
    return parse_recipe(recommender.card["recipe"], source=f"{folder}: recipe")
