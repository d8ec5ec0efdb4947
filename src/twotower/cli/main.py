"""The command's entry."""

from __future__ import annotations

import os
import sys

from twotower.cli.machine import thread_settings

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run ``twotower`` and exit: 0, 1 for a failure, 2 for wrong usage, 130 when interrupted.

    Args:
        arguments: None for those of the process.

    Raises:
        SystemExit: Always.
    """
    if "torch" not in sys.modules:  # which reads them once, as it is loaded
        os.environ.update(thread_settings(os.environ))
    from twotower.cli.production import app

    app(arguments, prog_name="twotower")
