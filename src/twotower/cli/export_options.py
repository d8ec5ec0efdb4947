"""The options of ``twotower export``; what it does is in ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twotower.cli.arguments import AsJson, RunPath

__all__ = ["export"]


def export(
    run: RunPath,
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="onnx|vectors", help="Both towers for other runtimes, or vectors for other stores of vectors."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="A folder; or, for vectors of items alone, a file that ends in .parquet.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="With onnx: of ONNX; 17 by default.")] = None,
    check_rows: Annotated[
        int | None,
        typer.Option(min=1, help="With onnx: how many users, and items, are compared with the bundle; 1,000 by default."),
    ] = None,
    users: Annotated[bool, typer.Option("--users", help="With vectors: those of all known users too.")] = False,
    layout: Annotated[
        str | None,
        typer.Option("--as", metavar="parquet|npy", help="With vectors: tables, by default, or matrices with files of ids."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the towers as ONNX files, compared with the bundle, or vectors with their ids; whole, or nothing."""
    from twotower.cli.export import export_command

    export_command(
        run,
        format_=format_,
        out=out,
        opset=opset,
        check_rows=check_rows,
        users=users,
        layout=layout,
        as_json=as_json,
    )
