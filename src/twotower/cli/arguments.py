"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Count", "RunPath"]

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a bundle.")]
AsJson = Annotated[bool, typer.Option("--json", help="End stdout with one line of JSON, and print nothing else there.")]
Count = Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")]
