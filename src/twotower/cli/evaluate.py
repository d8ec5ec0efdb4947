"""``twotower evaluate``."""

from __future__ import annotations

from pathlib import Path

from twotower.cli.output import print_json
from twotower.cli.verdict import print_verdict
from twotower.runs import reevaluate
from twotower.training import DeviceName

__all__ = ["evaluate_command"]


def evaluate_command(run: Path, *, device: DeviceName | None, as_json: bool) -> None:
    """Judge a run's bundle again and print the verdict."""
    summary = reevaluate(run, device=device)
    if as_json:
        print_json({key: value for key, value in summary.items() if key != "details"})
    else:
        print_verdict(summary)
