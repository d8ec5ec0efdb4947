"""The options of ``twotower tune``; what it does is in ``tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twotower.cli.arguments import AsJson

__all__ = ["tune"]


def tune(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML); its [tune] says what may vary.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier calls included.")] = 30,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Begin no other trial after so many; those that run are finished."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trials at a time; fewer where memory has no room for them.")] = 1,
    metric: Annotated[
        str | None, typer.Option(help="The validation figure to choose by; by default that of early stopping.")
    ] = None,
    pruner: Annotated[
        str, typer.Option(metavar="median|hyperband|none", help="How trials that fall behind are given up.")
    ] = "median",
    seed: Annotated[int, typer.Option(help="Of the choice of values; trainings have the recipe's.")] = 0,
    run_dir: Annotated[Path | None, typer.Option(help="The tuning's folder; by default runs/NAME-tune.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key for all trials. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted tuning stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over in a folder that holds a tuning.")] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Also draw the page of all trials (extra report).")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Try values of a recipe's keys, and write what is best on validation rows as a recipe; test rows are not looked at."""
    from twotower.cli.tune import TuneOptions, tune_command

    tune_command(
        recipe,
        settings or [],
        TuneOptions(trials, timeout, jobs, metric, pruner, seed, run_dir, resume, overwrite, report),
        as_json=as_json,
    )
