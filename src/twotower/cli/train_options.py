"""``twotower train`` and its options; what it does is in ``cli/train.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twotower.cli.arguments import AsJson

__all__ = ["train"]


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")],
    run_dir: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/NAME.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.epochs=10. Repeatable.")
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="A run to go on from: keep what it learned, add new ids, learn new rows."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")] = False,
    refit: Annotated[
        str | None, typer.Option(help="none, train or all: what the final model is trained on, once the epochs are chosen.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    on_bad_rows: Annotated[
        str | None, typer.Option(metavar="error|skip", help="What to do with rows of the interactions that can't be read.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard events into the folder.")] = False,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Train by so many processes on this machine; torchrun starts them on several.")
    ] = None,
    restarts: Annotated[
        int, typer.Option(min=0, help="With --ranks: if a process dies, start all again, so often at most.")
    ] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what training would do, and why, and stop before its first step.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train, judge beside the baselines, and write a bundle."""
    overrides = list(settings or [])
    overrides += [
        f"{key}={value}"
        for key, value in (("refit", refit), ("device", device), ("data.interactions.on_bad_rows", on_bad_rows))
        if value is not None
    ]
    if explain:
        needless = {
            "--run-dir": run_dir is not None,
            "--resume": resume,
            "--overwrite": overwrite,
            "--tensorboard": tensorboard,
            "--ranks": ranks is not None,
        }
        if any(needless.values()):
            names = ", ".join(name for name, given in needless.items() if given)
            raise typer.BadParameter(f"nothing is trained or written; leave {names} out", param_hint="--explain")
        from twotower.cli.explain import explain_command

        explain_command(recipe, overrides, as_json=as_json, from_run=from_run)
        return
    if restarts and ranks is None:
        raise typer.BadParameter("it is of --ranks; torchrun has --max-restarts", param_hint="--restarts")
    if ranks is not None:
        from twotower.cli.ranks import launch_command

        options = [] if from_run is None else ["--from", str(from_run)]
        flags = {"--resume": resume, "--overwrite": overwrite, "--tensorboard": tensorboard, "--json": as_json}
        options += [name for name, wanted in flags.items() if wanted]
        launch_command(recipe, run_dir, overrides, options, ranks=ranks, restarts=restarts)
        return
    from twotower.cli.train import train_command

    train_command(
        recipe,
        run_dir,
        overrides,
        resume=resume,
        overwrite=overwrite,
        tensorboard=tensorboard,
        as_json=as_json,
        from_run=from_run,
    )
