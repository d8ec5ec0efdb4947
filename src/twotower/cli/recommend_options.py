"""The options of ``twotower recommend`` and ``twotower similar``; what they do is in ``recommend`` and ``batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twotower.cli.arguments import AsJson, Count, RunPath
from twotower.errors import ConfigError

__all__ = ["recommend", "similar"]


def recommend(
    run: RunPath,
    user: Annotated[str | None, typer.Option(help="The user's id.")] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE,...",
            help="What is known of a user, never seen ones too, and of the moment: age=31,country=BR. Repeatable.",
        ),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM", help="An item of the history, the most recent last (or a JSON object). Repeatable."),
    ] = None,
    k: Count = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Also recommend what the user has seen.")] = False,
    exclude: Annotated[list[str] | None, typer.Option(metavar="ITEM", help="Leave this item out. Repeatable.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ITEM", help="Choose among these items. Repeatable.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="TABLE", help="Answer every row of a table: CSV or Parquet, file, folder, glob or URL."
        ),
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Answer every user that the run knows.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="With --input or --all-users: the file of the answers, .parquet or .csv.")
    ] = None,
    history_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --input: a column of lists of items, in place of stored histories.")
    ] = None,
    skip_unknown: Annotated[
        bool,
        typer.Option("--skip-unknown", help="With --input: rows of which nothing is known are counted, and have no answer."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recommend items to a known user, to anybody described by features or a history, or to all rows of a table."""
    if source is not None or all_users:
        from twotower.cli.batch import batch_command

        one = {"--user": user, "--query": query, "--history": history}
        given = [name for name, value in {**one, "--all-users": all_users if source is not None else None}.items() if value]
        if given:
            raise ConfigError(f"{', '.join(given)}: can't be asked together with {'--input' if source else '--all-users'}")
        batch_command(
            run,
            source=source,
            output=output,
            history_column=history_column,
            skip_unknown=skip_unknown,
            k=k,
            include_seen=include_seen,
            exclude=exclude or [],
            only=only,
            as_json=as_json,
        )
        return
    alone = {"--output": output, "--history-column": history_column, "--skip-unknown": skip_unknown}
    if any(alone.values()):
        raise ConfigError(f"{', '.join(name for name, value in alone.items() if value)}: goes with --input or --all-users")
    from twotower.cli.recommend import recommend_command

    recommend_command(
        run,
        user=user,
        query=query or [],
        history=history,
        k=k,
        include_seen=include_seen,
        exclude=exclude or [],
        only=only,
        as_json=as_json,
    )


def similar(
    run: RunPath,
    item: Annotated[str, typer.Option(help="The item's id.")],
    k: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Items whose vectors point the same way as an item's."""
    from twotower.cli.recommend import similar_command

    similar_command(run, item=item, k=k, as_json=as_json)
