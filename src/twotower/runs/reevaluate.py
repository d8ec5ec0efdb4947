"""Judge a finished run again, from its bundle, in a fresh process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from twotower.models import ModelBuilder, build
from twotower.runs.baselines import baseline_rankers
from twotower.runs.judge import judge, model_ranker, summarised
from twotower.runs.judge_outcomes import judge_outcomes
from twotower.runs.load_run import load_run
from twotower.runs.oracle import oracle_summary
from twotower.training import DeviceName, resolve_device

__all__ = ["reevaluate"]


def reevaluate(
    folder: str | Path,
    *,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    builder: ModelBuilder = build,
    cache_dir: Path | None = None,
    device: DeviceName | None = None,
) -> dict[str, Any]:
    """Load a run's bundle and judge it on the recipe's test rows: the figures of the run, if nothing changed.

    With ``refit = "all"`` the bundle that is judged is the measured one, which did not see the test rows. In a run folder the
    ranks of the test rows are written anew, so that those of an older run, or damaged ones, come back.

    Args:
        folder: A run folder, or a bundle of one.
        interactions: In place of the recipe's table, as for the run.
        items: In place of the recipe's table.
        users: In place of the recipe's table.
        builder: What built the model, where it was one of your own.
        cache_dir: Where public data sets are kept; None for the default.
        device: Where to judge; None: where the recipe says that it was trained.

    Returns:
        As `RunResult.summary` has it, without what training told.

    Raises:
        BundleError: If the folder holds no finished run, or only a model that has seen the test rows.
        DataError: If the tables are no longer those of the run.
        ConfigError: If the device is not there.
    """
    loaded = load_run(folder, interactions=interactions, items=items, users=users, builder=builder, cache_dir=cache_dir)
    recipe, phase = loaded.recipe, loaded.phase
    on = resolve_device(device or recipe.device)
    trained = loaded.recommender.model.to(on)
    model = model_ranker(trained, phase, device=on)
    found = judge(recipe, phase, loaded.tables.split.test, {"model": model, **baseline_rankers(recipe, loaded.tables)})
    if loaded.place.result.exists():
        found.rows.write(loaded.place.judged)
        if found.frozen is not None:
            found.frozen.write(loaded.place.judged_frozen)
    outcomes = judge_outcomes(recipe, phase, trained, loaded.tables.split.test, device=on)
    return {
        "run_dir": str(loaded.place.path),
        **summarised(recipe, loaded.tables, found.figures),
        **oracle_summary(recipe, found.rows, found.frozen),
        **({"outcomes": outcomes} if outcomes else {}),
    }
