"""Where a run is, and what to say of one that was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from twotower.runs import Recipe, RunFolder

__all__ = ["folder_of", "how_to_go_on"]


def folder_of(recipe: Recipe, run_dir: Path | None) -> Path:
    """The run's folder: the one that was named, or else the recipe's."""
    return run_dir or Path("runs") / recipe.name


def how_to_go_on(
    recipe_path: Path, folder: Path, overrides: Sequence[str], *, begun: bool, ranks: int = 1, launched: bool = False
) -> str:
    """The command that goes on with an interrupted run, if there is something to go on with.

    Args:
        recipe_path: The recipe's file.
        folder: Of the run.
        overrides: ``KEY=VALUE``.
        begun: Whether the command had begun what it was asked for, or went on with a run.
        ranks: How many processes trained it.
        launched: Whether ``--ranks`` started them.
    """
    if not begun or not RunFolder(folder).recipe.exists():
        return "nothing was trained yet"
    if ranks > 1 and not launched:
        return "go on with the same command and --resume, on all ranks"
    command = ["twotower", "train", str(recipe_path), "--run-dir", str(folder), "--resume"]
    command += [part for override in overrides for part in ("--set", override)]
    command += ["--ranks", str(ranks)] if ranks > 1 else []
    return f"go on with the same command and --resume: {' '.join(map(quote, command))}"
