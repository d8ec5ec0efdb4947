"""The options of ``twotower plan``; what it does is in ``plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twotower.cli.arguments import AsJson

__all__ = ["plan"]


def plan(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")] = None,
    ranks: Annotated[int, typer.Option(min=1, max=65536, help="Processes that train together, one per device.")] = 1,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="h200, h100, a100, l4 or cpu (the default).")] = None,
    constants: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A device in JSON, as --measure writes it, in place of --device.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Train rows to plan for (1e9); by default those of the tables.")
    ] = None,
    users: Annotated[str | None, typer.Option(metavar="NUMBER", help="Users to plan for.")] = None,
    items: Annotated[str | None, typer.Option(metavar="NUMBER", help="Items to plan for.")] = None,
    sharding: Annotated[
        str | None,
        typer.Option(
            metavar="local|row_wise|auto",
            help="Tables whole on every rank, split by rows, or split if large (training.sharding; auto where that is local).",
        ),
    ] = None,
    mean_length: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="Values of a row of a text, list or history, on average. Repeatable."),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="Values of a feature, where no table is read. Repeatable."),
    ] = None,
    read: Annotated[bool, typer.Option("--read/--no-read", help="Read the recipe's tables where they are there.")] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: training.batch_size=65536. Repeatable."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each figure comes about.")] = False,
    measure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure this machine, and write it as a device; half a minute. Without RECIPE."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a training over many ranks would take: memory, traffic and time; nothing is trained.

    A plan for which there is no memory is refused, with what would fit.
    """
    from twotower.cli.plan import PlanOptions, measure_command, plan_command

    if (recipe is None) == (measure is None):
        raise typer.BadParameter("give a recipe to plan for, or --measure FILE", param_hint="RECIPE")
    if measure is not None:
        measure_command(measure, as_json=as_json)
        return
    assert recipe is not None
    options = PlanOptions(
        ranks=ranks,
        device=device,
        constants=constants,
        rows=rows,
        users=users,
        items=items,
        sharding=sharding,
        lengths=tuple(mean_length or ()),
        vocabularies=tuple(vocabulary or ()),
        read=read,
        explain=explain,
    )
    plan_command(recipe, settings or [], options, as_json=as_json)
