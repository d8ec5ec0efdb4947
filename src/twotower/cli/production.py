"""The commands that bring a model into production, and their options; what they do is in the file of their name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twotower.cli.app import app
from twotower.cli.arguments import AsJson, Count, RunPath

__all__ = ["app"]


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, a bundle, or a folder of published versions.")],
    host: Annotated[
        str, typer.Option(help="Address to bind to; others than this machine's own reach it only at another one.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind to.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes, each with the model in its memory.")] = 1,
    token_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the token that writes need; without it nobody may write.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Reading needs the token too.")] = False,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Live items and histories: a file (by default live.sqlite beside the model), or redis://HOST:PORT/DB?prefix=NAME.",
        ),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="The page at /, and what it asks for.")] = True,
    max_per_client: Annotated[int, typer.Option(min=0, help="Requests of one address at a time; 0: no limit.")] = 0,
    log_level: Annotated[str, typer.Option(help="info: a line per request; warning: without.")] = "info",
) -> None:
    """Answer over HTTP: recommendations, similar items, live items and histories, a page; /openapi.json says how to ask."""
    from twotower.cli.serve import ServeOptions, serve_command

    serve_command(run, ServeOptions(host, port, workers, token_file, private, store, page, max_per_client, log_level))


@app.command()
def publish(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder, or a bundle.")] = None,
    to: Annotated[Path | None, typer.Option(help="The folder of versions that is served.")] = None,
    activate: Annotated[bool, typer.Option("--activate/--no-activate", help="Let the version answer from now on.")] = True,
    version: Annotated[str | None, typer.Option(help="Choose a version that is there already, in place of publishing.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Choose the version that answered before this one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a run's model, index and catalogue to a folder of versions as one, and let it answer; or take that back."""
    from twotower.cli.publish import publish_command

    publish_command(run, to, activate=activate, version=version, rollback=rollback, as_json=as_json)


@app.command()
def index(
    run: RunPath,
    kind: Annotated[str, typer.Option(help="hnsw (a graph), ivf-pq (lists of codes, scored again), or exact (none).")] = "hnsw",
    recall: Annotated[float, typer.Option(min=0.0, max=1.0, help="Which part of the k best it must find.")] = 0.97,
    k: Count = 100,
    latency_ms: Annotated[
        float | None, typer.Option(help="How long a query alone may take on this machine, median, in milliseconds.")
    ] = None,
    queries: Annotated[int, typer.Option(min=20, help="Known users that it is tuned and judged with.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the index, and of the choice of users.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Build an approximate index over a run's items, tuned until it finds enough; what misses its target is not kept."""
    from twotower.cli.index import IndexOptions, index_command

    index_command(run, IndexOptions(kind, recall, k, latency_ms, queries, seed), as_json=as_json)
