"""``twotower train --ranks N``, and what a rank that ``torchrun`` or we have started says and leaves unsaid."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from twotower.cli.going_on import folder_of, how_to_go_on
from twotower.distributed import (
    ALONE,
    LOST,
    Launch,
    Ranks,
    end_with_launcher,
    launch,
    launched_here,
    opened_ranks,
    process_name,
)
from twotower.errors import ConfigError, RankLostError
from twotower.runs import Recipe, RunFolder, read_recipe
from twotower.training import resolve_device

__all__ = ["launch_command", "ranks_for"]

_FIRST_SPEAKS_S = 3.0


def launch_command(
    recipe: Path, run_dir: Path | None, overrides: Sequence[str], options: Sequence[str], *, ranks: int, restarts: int
) -> None:
    """Run the same command as so many ranks, and exit as they do.

    Args:
        recipe: The recipe's file; it is read once here, so that a fault in it is told once, and at once.
        run_dir: The run's folder.
        overrides: ``KEY=VALUE``.
        options: All others, as they stand on the command line.
        ranks: How many processes.
        restarts: How often all may be started again.
    """
    if Launch.of(os.environ) is not None:
        raise ConfigError(
            f"--ranks {ranks}: this process is a rank already (RANK and WORLD_SIZE are set); leave --ranks out",
            source="command",
        )
    found = read_recipe(recipe, overrides=overrides)
    resolve_device(found.device)
    settings = [part for override in overrides for part in ("--set", override)]
    settings += [] if run_dir is None else ["--run-dir", str(run_dir)]
    try:
        status = launch(["-m", "twotower", "train", str(recipe), *settings, *options], ranks=ranks, restarts=restarts)
    except KeyboardInterrupt:
        folder = folder_of(found, run_dir)
        begun = RunFolder(folder).was_begun_by([process_name(os.getpid())]) or "--resume" in options
        said = how_to_go_on(recipe, folder, overrides, begun=begun, ranks=ranks, launched=True)
        raise KeyboardInterrupt(said) from None
    raise typer.Exit(status)


@contextmanager
def ranks_for(recipe: Recipe) -> Iterator[Ranks]:
    """The ranks that this process is one of, for as long as the block lasts.

    It is alone where nobody started it as a rank.

    An error that all ranks have is told once: the others wait for rank 0 to tell it, and are stopped as soon as it has.
    """
    launched = Launch.of(os.environ)
    if launched is None:
        yield ALONE
        return
    end_with_launcher()
    try:
        with opened_ranks(launched, resolve_device(recipe.device)) as ranks:
            if ranks.restarts and ranks.first:
                most = "" if launched.most_restarts is None else f" of {launched.most_restarts}"
                sys.stderr.write(
                    f"twotower: a rank died, and all were started again (restart {ranks.restarts}{most}): what had begun goes "
                    "on from its last checkpoint\n"
                )
            yield ranks
    except RankLostError:
        if launched_here():
            time.sleep(_FIRST_SPEAKS_S)  # whoever has said what is wrong may still be ending, and its status is what counts
            raise typer.Exit(LOST) from None
        if launched.restart < (launched.most_restarts or 0):  # all are started again, which is what there is to say
            raise typer.Exit(1) from None
        time.sleep(_FIRST_SPEAKS_S * min(launched.rank, 2))  # rank 1 speaks before the others, of whom there may be many
        raise
    except BaseException:
        if launched.rank:
            time.sleep(_FIRST_SPEAKS_S)
        raise
